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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from polyclinic.secret import refuse_shared

_START = "0" * 64
_KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a log holds.

    Attributes:
        lines: how many.
        head: digest of the last of them; who keeps it elsewhere will notice lines that were cut off.
        number: of the last request in it.
    """

    lines: int
    head: str
    number: int


class AuditLog:
    """A log that one service writes.

    Args:
        path: of the log; it is made, or gone on with where its chain is whole.

    Raises:
        ValueError: it cannot be written, another service writes it, its chain is broken, or its key is gone.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ValueError(
                f"the audit log cannot be opened ({type(error).__name__}); set `--audit` to a file in a folder that "
                "this user may write"
            ) from None
        try:
            self._take(path)
        except BaseException:
            os.close(self._handle)
            raise
        self._writing = Lock()

    def _take(self, path: Path) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError("another service writes this audit log; set `--audit` to a file of its own") from None
        chain = verified(path)
        self._key = _key(path, make=chain.lines == 0)
        self._head, self.number = chain.head, chain.number

    def digest(self) -> "hmac.HMAC":
        """A keyed SHA-256 of nothing yet."""
        return hmac.new(self._key, digestmod=hashlib.sha256)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add a line, and return when it is on the disk.

        Raises:
            OSError: it is not.
        """
        with self._writing:
            told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **entry, "previous": self._head}
            line = json.dumps(told, separators=(",", ":")).encode()
            before = os.fstat(self._handle).st_size
            try:
                if os.write(self._handle, line + b"\n") != len(line) + 1:
                    raise OSError("the line is not whole")
                os.fsync(self._handle)
            except OSError:
                # A full disk takes a part of a line, which would break the chain.
                os.ftruncate(self._handle, before)
                raise
            self._head = hashlib.sha256(line).hexdigest()

    def close(self) -> None:
        """Let another service have it."""
        os.close(self._handle)


def verified(path: Path, *, expect: str | None = None) -> Chain:
    """Check that each line follows from the one before it.

    Args:
        path: of the log.
        expect: a head that it once had.

    Raises:
        ValueError: a line does not follow, the file cannot be read, or it never had that head.
    """
    head, number, lines, missing = _START, 0, 0, expect is not None
    for lines, line in enumerate(_lines(path), start=1):
        told = _told(line, lines)
        if told.get("previous") != head:
            raise ValueError(
                f"line {lines} of the audit log does not follow from the line before it: lines were changed, removed "
                "or added; keep the file as evidence, and set `--audit` to a new one"
            )
        head = hashlib.sha256(line).hexdigest()
        number = max(number, int(told.get("number", 0)))
        missing = missing and head != expect
    if missing:
        raise ValueError("the audit log never had the expected head: lines were cut off, or it is another log")
    return Chain(lines=lines, head=head, number=number)


def entries_of(path: Path, content: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines, by place, of requests that a file was in.

    Args:
        path: of the log.
        content: the file.

    Raises:
        ValueError: the key is gone, or a file cannot be read.
    """
    digest = hmac.new(_key(path, make=False), digestmod=hashlib.sha256)
    try:
        with content.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ValueError(f"the file to find cannot be read ({type(error).__name__}); set `--find`") from None
    sought = digest.hexdigest()
    for place, line in enumerate(_lines(path), start=1):
        told = _told(line, place)
        if any(part["hmac"] == sought for part in told.get("parts", ())):
            yield place, told


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            for place, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    raise ValueError(
                        f"line {place} of the audit log ends in the middle, as after a power cut; keep the file, and "
                        "set `--audit` to a new one"
                    )
                yield line[:-1]
    except OSError as error:
        raise ValueError(f"the audit log cannot be read ({type(error).__name__}); set its path") from None


def _told(line: bytes, place: int) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise ValueError(f"line {place} of the audit log is no entry; keep the file, and set `--audit` to a new one")
    return told


def _key(path: Path, *, make: bool) -> bytes:
    place = path.with_name(f"{path.name}.key")
    refuse_shared(place, "key of the audit log")
    try:
        # An empty one was left by a start that was killed, and no line depends on it.
        if make and not (place.exists() and place.stat().st_size):
            _make_key(place)
        key = bytes.fromhex(place.read_text(encoding="ascii"))
    except (OSError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError(
            "the key of the audit log, which lies beside it with the ending .key, is missing or damaged; put it back, "
            "or set `--audit` to a new file"
        )
    return key


def _make_key(place: Path) -> None:
    """Write a new key under another name first, so that a kill leaves a whole one or none."""
    part = place.with_name(f"{place.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_hex(_KEY_BYTES).encode())
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(place)
