"""Permissions of files that hold keys and tokens."""

import stat
from pathlib import Path


def refuse_shared(path: Path, what: str) -> None:
    """Refuse a secret file that its group or others can access.

    Args:
        path: secret file; if it cannot be inspected, reading it later reports the cause.
        what: content of the file for the message, such as ``token``.

    Raises:
        ValueError: the file's mode grants any permission to the group or to others.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ValueError(
            f"got a {what} in a file of mode {stat.S_IMODE(mode):03o}, expected 600, which only its owner can read; "
            "run `chmod 600` on the file, and replace the secret if others may have read it"
        )
