"""Which files were scored when: lines that are only ever added, each with the digest of the one before it.

Nothing in it says who a patient is. Files stand in it by a keyed digest: a plain one of a small file, such as a dozen
lab values, could be found by trying all values. The key lies beside the log, readable by its owner alone; with it
``polyclinic audit --find FILE`` tells when a file was scored, and without it nobody can.
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
    """The log at its path is not the one that is written, in a sentence."""


class AuditLog:
    """A log that one service writes.

    Args:
        path: of the log; it is made, or continued where its chain is whole.

    Raises:
        ValueError: it cannot be written, another service writes it, its chain is broken, or its key is gone.
    """

    def __init__(self, path: Path) -> None:
        # Where it lies does not depend on the working folder later on.
        self._path = path.absolute()
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ValueError(
                f"the audit log cannot be opened ({type(error).__name__}); set `--audit` to a file in a folder that "
                "this user may write"
            ) from None
        try:
            self._take()
        except BaseException:
            os.close(self._handle)
            raise
        self._writing = Lock()

    def _take(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError("another service writes this audit log; set `--audit` to a file of its own") from None
        held = os.fstat(self._handle)
        if not stat.S_ISREG(held.st_mode):
            raise ValueError("got an audit log that is not a regular file; set `--audit` to one")
        chain = verified(self._path)
        if chain.lines == 0:
            _make_key(self._path)
        self._key = read_key(self._path)
        self._head, self.number, self._size, self._last = chain.head, chain.number, held.st_size, chain.last

    def digest(self) -> "hmac.HMAC":
        """A keyed SHA-256 of nothing yet."""
        return hmac.new(self._key, digestmod=hashlib.sha256)

    def check(self) -> None:
        """Return where the file at its path is the one that is written, as long as it was left, with its last line.

        Raises:
            AuditLost: it was removed, replaced, cut off or changed.
        """
        with self._writing:
            self._check()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add a line, and return when it is on the disk, where the path says.

        Raises:
            OSError: it cannot be written.
            AuditLost: the file was removed, replaced, cut off or changed.
        """
        with self._writing:
            self._check()
            told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **entry, "previous": self._head}
            line = json.dumps(told, separators=(",", ":")).encode()
            try:
                if os.write(self._handle, line + b"\n") != len(line) + 1:
                    raise OSError("the line is not whole")
                os.fsync(self._handle)
            except OSError:
                # A full disk takes a part of a line, which would break the chain.
                os.ftruncate(self._handle, self._size)
                raise
            self._head, self._last = hashlib.sha256(line).hexdigest(), len(line)
            self._size += len(line) + 1
            # Once more: a line in a file that was removed meanwhile is not there.
            self._check()

    def close(self) -> None:
        """Let another service have it."""
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


def _lost(what: str) -> AuditLost:
    return AuditLost(
        f"the audit log {what}, so that nothing is scored; put it back as it was, or keep what is left as evidence and "
        "start the service again with another `--audit`"
    )


def _make_key(log: Path) -> None:
    """A new key for a log without lines, unless it has one; a start that was killed leaves none, or a whole one."""
    place = log.with_name(f"{log.name}.key")
    if place.is_file() and place.stat().st_size:
        refuse_shared(place, "key of the audit log")
    try:
        read_key(log)
    except ValueError:
        try:
            with atomic_file(place) as partial:
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
