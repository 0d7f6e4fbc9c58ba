"""Append-only audit log of scored files: a hash chain, in which each line holds the digest of the line before it.

The log identifies no patient. Files are recorded by a keyed digest, as a plain digest of a small file, such as a dozen
lab values, could be inverted by trying all values. The key is in a file beside the log that only its owner can read;
with it, ``polyclinic audit --find FILE`` reports when a file was scored, and without it nobody can.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from polyclinic.deploy.service.audit_reading import KEY_BYTES, entries_of, read_key, verified
from polyclinic.files.atomic import atomic_file
from polyclinic.system.secret import refuse_shared

__all__ = ["AuditLog", "AuditLost", "entries_of", "verified"]


class AuditLost(Exception):
    """The file at the path of the log was removed, replaced or changed; the message is a sentence."""


class AuditLog:
    """The audit log of one service.

    Args:
        path: file of the log; created, or continued if its chain is intact.

    Raises:
        ValueError: the log cannot be written, another service writes it, its chain is broken, or its key is missing.
    """

    def __init__(self, path: Path) -> None:
        # Absolute, so that a later change of the working folder has no effect.
        self._path = path.absolute()
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ValueError(
                f"the audit log cannot be opened ({type(error).__name__}); set `--audit` to a file in a folder that "
                "this user may write"
            ) from None
        try:
            self._open_chain()
        except BaseException:
            os.close(self._handle)
            raise
        self._writing = Lock()

    def _open_chain(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError("another service writes this audit log; set `--audit` to another file") from None
        held = os.fstat(self._handle)
        if not stat.S_ISREG(held.st_mode):
            raise ValueError("got an audit log that is not a regular file; set `--audit` to one")
        chain = verified(self._path)
        if chain.lines == 0:
            _make_key(self._path)
        self._key = read_key(self._path)
        self._head, self.number, self._size, self._last = chain.head, chain.number, held.st_size, chain.last

    def digest(self) -> "hmac.HMAC":
        """Return a new HMAC-SHA-256, to be updated with the content of a file."""
        return hmac.new(self._key, digestmod=hashlib.sha256)

    def check(self) -> None:
        """Check that the file at the path is the open one, with its recorded size and last line.

        Raises:
            AuditLost: the file was removed, replaced, cut off or changed.
        """
        with self._writing:
            self._check()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add a line, and return when it is on disk.

        Raises:
            OSError: the line cannot be written.
            AuditLost: the file was removed, replaced, cut off or changed.
        """
        with self._writing:
            self._check()
            record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **entry, "previous": self._head}
            line = json.dumps(record, separators=(",", ":")).encode()
            try:
                if os.write(self._handle, line + b"\n") != len(line) + 1:
                    raise OSError("the line is not complete")
                os.fsync(self._handle)
            except OSError:
                # A full disk accepts part of a line, which would break the chain.
                os.ftruncate(self._handle, self._size)
                raise
            self._head, self._last = hashlib.sha256(line).hexdigest(), len(line)
            self._size += len(line) + 1
            # Again, as the file may have been removed in the meantime, and the line with it.
            self._check()

    def close(self) -> None:
        """Close the log, and release its lock."""
        os.close(self._handle)

    def _check(self) -> None:
        held = os.fstat(self._handle)
        try:
            named = self._path.stat()
        except OSError as error:
            raise _lost(f"is not at its path any more ({type(error).__name__})") from None
        if not os.path.samestat(held, named):
            raise _lost("was replaced by another file")
        if held.st_size != self._size:
            raise _lost("was cut off" if held.st_size < self._size else "was written by another program")
        last = os.pread(self._handle, self._last + 1, self._size - self._last - 1) if self._size else b""
        if self._size and hashlib.sha256(last[:-1]).hexdigest() != self._head:
            raise _lost("was changed in its last line")


def _lost(problem: str) -> AuditLost:
    return AuditLost(
        f"the audit log {problem}, so that nothing is scored; restore it, or keep what is left as evidence and start "
        "the service again with another `--audit`"
    )


def _make_key(log: Path) -> None:
    """Write a key for a new log, unless a start that was killed wrote one already; the write is atomic."""
    key_path = log.with_name(f"{log.name}.key")
    if key_path.is_file() and key_path.stat().st_size:
        refuse_shared(key_path, "key of the audit log")
    try:
        read_key(log)
    except ValueError:
        try:
            with atomic_file(key_path) as partial:
                handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(secrets.token_hex(KEY_BYTES).encode())
                    stream.flush()
                    os.fsync(stream.fileno())
        except OSError as error:
            raise ValueError(
                f"the key of the audit log cannot be written beside it ({type(error).__name__}); set `--audit` to a "
                "file in a folder that this user may write"
            ) from None
