"""Files that hold keys and tokens."""

import stat
from pathlib import Path


def refuse_shared(path: Path, what: str) -> None:
    """Stop where others than its owner may use a file that holds a secret.

    Args:
        path: of the file; where it cannot be looked at, whoever reads it next reports why.
        what: it holds, such as ``token``.

    Raises:
        ValueError: its permissions give something to the group or to others.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ValueError(
            f"got a {what} in a file of mode {stat.S_IMODE(mode):03o}, expected 600, which only its owner can read; "
            "run `chmod 600` on the file, and make a new one where others may have read it"
        )
