"""Identity of the process behind a run, to detect runs whose process no longer exists."""

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
_HOST_ID_CHARACTERS = 16
_STARTTIME_INDEX = 19
"""Index of ``starttime`` (field 22 of proc(5)) among the fields after the name (field 2) in ``/proc/PID/stat``."""


def process_tags() -> dict[str, str]:
    """Return the host as a hash, the process id and its start time, which is empty if unknown."""
    return {HOST: host_id(), PID: str(os.getpid()), START: started(os.getpid()) or ""}


def is_gone(tags: Mapping[str, str]) -> bool:
    """Return whether the process that set these tags ran on this host and has ended; False if unsure."""
    if tags.get(HOST) != host_id() or not tags.get(START) or not tags.get(PID, "").isdigit():
        return False
    return started(int(tags[PID])) != tags[START]


def is_alive_elsewhere(tags: Mapping[str, str]) -> bool:
    """Return whether another process of this host set these tags and is still running."""
    if tags.get(HOST) != host_id() or tags.get(PID) == str(os.getpid()) or not tags.get(PID, "").isdigit():
        return False
    return bool(tags.get(START)) and started(int(tags[PID])) == tags[START]


@cache
def host_id() -> str:
    """Return a hash that identifies this host and, in a container, its process namespace, without revealing names."""
    machine, namespace = Path("/etc/machine-id"), Path("/proc/self/ns/pid")
    parts = [
        socket.gethostname(),
        str(uuid.getnode()),
        machine.read_text() if machine.is_file() else "",
        str(namespace.readlink()) if namespace.is_symlink() else "",
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_HOST_ID_CHARACTERS]


def started(pid: int) -> str | None:
    """Return the start time of a process, which makes its id unique on this host; None if it has ended.

    A zombie counts as ended.
    """
    if not Path("/proc/self/stat").exists():
        return _start_by_ps(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    boot = Path("/proc/sys/kernel/random/boot_id")
    return (
        None
        if fields[0] in "ZX"
        else f"{fields[_STARTTIME_INDEX]} {boot.read_text().strip() if boot.is_file() else ''}"
    )


def _start_by_ps(pid: int) -> str | None:
    program = shutil.which("ps")
    if program is None:
        return None
    done = subprocess.run([program, "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip() or None
