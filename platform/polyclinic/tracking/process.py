"""Which process a run belongs to, so that one whose process is gone can be told from one that goes on."""

import hashlib
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

HOST, PID, START = "polyclinic.host", "polyclinic.pid", "polyclinic.process_start"
_DIGEST = 16
_STARTED = 19
"""Place of ``starttime`` behind the name in ``/proc/PID/stat``: field 22 of proc(5), the name being field 2."""


def process_tags() -> dict[str, str]:
    """The host as a hash, the process id, and when the process started; an empty start where nothing tells."""
    return {HOST: host_id(), PID: str(os.getpid()), START: started(os.getpid()) or ""}


def is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that set these tags ran on this host and is no more; False whenever that is unsure."""
    if tags.get(HOST) != host_id() or not tags.get(START) or not tags.get(PID, "").isdigit():
        return False
    return started(int(tags[PID])) != tags[START]


def is_alive_elsewhere(tags: Mapping[str, str]) -> bool:
    """Whether another process of this host set these tags and still runs."""
    if tags.get(HOST) != host_id() or tags.get(PID) == str(os.getpid()) or not tags.get(PID, "").isdigit():
        return False
    return bool(tags.get(START)) and started(int(tags[PID])) == tags[START]


@cache
def host_id() -> str:
    """A hash of what tells this host, and this container's processes, from others; no name can be read from it."""
    known = [socket.gethostname(), str(uuid.getnode())]
    for path in ("/etc/machine-id",):
        known.append(Path(path).read_text() if Path(path).is_file() else "")
    namespace = Path("/proc/self/ns/pid")
    known.append(str(namespace.readlink()) if namespace.is_symlink() else "")
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:_DIGEST]


def started(pid: int) -> str | None:
    """When a process started, as a text that no other process of this host shares with its id; None when it is gone.

    A process that has ended and waits for its parent to ask is gone.
    """
    if not Path("/proc/self/stat").exists():
        return _asked_of_ps(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id")
    return None if fields[0] in "ZX" else f"{fields[_STARTED]} {boot.read_text().strip() if boot.is_file() else ''}"


def _asked_of_ps(pid: int) -> str | None:
    program = shutil.which("ps")
    if program is None:
        return None
    done = subprocess.run([program, "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip() or None
