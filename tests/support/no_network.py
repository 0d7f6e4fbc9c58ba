"""Commands in a network namespace without an interface but the loopback."""

import os

_LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as found:
    fcntl.ioctl(found, 0x8914, struct.pack("16sh14x", b"lo", 0x49))  # SIOCSIFFLAGS: up, loopback, running
os.execvp(sys.argv[1], sys.argv[1:])
"""


def unplugged(*words: str, python: str, loopback: bool = False) -> list[str]:
    """Return the command line that runs ``words`` without network.

    Args:
        words: program and arguments.
        python: interpreter that brings the loopback up.
        loopback: whether 127.0.0.1 can be reached.
    """
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    up = [python, "-c", _LOOPBACK] if loopback else []
    return ["unshare", *user, "--net", "--", *up, *words]
