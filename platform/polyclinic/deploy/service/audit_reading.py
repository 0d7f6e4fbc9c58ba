"""Read audit logs, which may be damaged or forged: a line that is not an entry is refused with the reason."""

import hashlib
import hmac
import json
import math
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from polyclinic.system.secret import refuse_shared

KEY_BYTES = 32
_START = "0" * 64
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_LINE_BYTES = 1 << 20
_MAX_NUMBER, _MAX_DIGITS = 1 << 53, 20


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Summary of a verified log.

    Attributes:
        lines: number of lines.
        head: digest of the last line; a copy kept elsewhere reveals lines that were cut off.
        number: largest request number.
        last: length of the last line in bytes.
    """

    lines: int
    head: str
    number: int
    last: int


def verified(path: Path, *, expect: str | None = None) -> Chain:
    """Check that each line follows from the one before it.

    Args:
        path: file of the log.
        expect: head that the log had at an earlier time.

    Raises:
        ValueError: a line is not an entry or does not follow, the file cannot be read, or it never had that head.
    """
    if expect is not None and _DIGEST.fullmatch(expect := expect.lower()) is None:
        raise ValueError("got an expected head that is not 64 hexadecimal digits; set `--expect` to one that was noted")
    head, number, lines, line = _START, 0, 0, b""
    missing = expect not in (None, head)
    for lines, line in enumerate(_lines(path), start=1):
        entry = _entry(line, lines)
        if entry.get("previous") != head:
            raise ValueError(
                f"line {lines} of the audit log does not follow from the line before it: lines were changed, removed "
                "or added; keep the file as evidence, and set `--audit` to a new one"
            )
        head = hashlib.sha256(line).hexdigest()
        number = max(number, entry.get("number", 0))
        missing = missing and head != expect
    if missing:
        raise ValueError("the audit log never had the expected head: lines were cut off, or it is another log")
    return Chain(lines=lines, head=head, number=number, last=len(line))


def entries_of(path: Path, content: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and entry of each request that included a file.

    Args:
        path: file of the log.
        content: file to find.

    Raises:
        ValueError: the key is missing, or a file cannot be read.
    """
    digest = hmac.new(read_key(path), digestmod=hashlib.sha256)
    try:
        _refuse_irregular(content, "the file to find", "--find")
        with content.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ValueError(f"the file to find cannot be read ({type(error).__name__}); set `--find`") from None
    sought = digest.hexdigest()
    for line_number, line in enumerate(_lines(path), start=1):
        entry = _entry(line, line_number)
        if any(part["hmac"] == sought for part in entry.get("parts", ())):
            yield line_number, entry


def read_key(log: Path) -> bytes:
    """Read the key of a log.

    Raises:
        ValueError: the key is missing or damaged, or other users may read it.
    """
    key_path = log.with_name(f"{log.name}.key")
    refuse_shared(key_path, "key of the audit log")
    try:
        key = bytes.fromhex(key_path.read_text(encoding="ascii")) if key_path.is_file() else b""
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            "the key of the audit log, a file beside it with the ending .key, is missing or damaged; restore it, or "
            "set `--audit` to a new file"
        )
    return key


def _lines(path: Path) -> Iterator[bytes]:
    try:
        _refuse_irregular(path, "the audit log", "its path")
        with path.open("rb") as stream:
            line_number = 0
            while line := stream.readline(_MAX_LINE_BYTES + 1):
                line_number += 1
                if len(line) > _MAX_LINE_BYTES:
                    raise _not_an_entry(line_number, f"it is longer than {_MAX_LINE_BYTES} bytes")
                if not line.endswith(b"\n"):
                    raise ValueError(
                        f"line {line_number} of the audit log ends in the middle, as after a power cut; keep the file, "
                        "and set `--audit` to a new one"
                    )
                yield line[:-1]
    except OSError as error:
        raise ValueError(f"the audit log cannot be read ({type(error).__name__}); set its path") from None


def _refuse_irregular(path: Path, what: str, setting: str) -> None:
    """Refuse devices and pipes, which may have no end."""
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise ValueError(f"{what} is not a regular file; set `{setting}`")


def _entry(line: bytes, line_number: int) -> dict[str, Any]:
    try:
        entry = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_infinite,
            parse_float=_finite_float,
            parse_int=_short_int,
        )
    except RecursionError:
        raise _not_an_entry(line_number, "it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _not_an_entry(line_number, "it is not UTF-8") from None
    except _InvalidValue as invalid:
        raise _not_an_entry(line_number, str(invalid)) from None
    except ValueError:
        raise _not_an_entry(line_number, "it is not JSON" if line.strip() else "it is empty") from None
    if not isinstance(entry, dict):
        raise _not_an_entry(line_number, "it is not a JSON object")
    for name, is_valid in _VALIDATORS.items():
        if name in entry and not is_valid(entry[name]):
            raise _not_an_entry(line_number, f"its `{name}` is not a value that the service writes")
    if "parts" in entry and not {"number", "time", "status"} <= set(entry):
        raise _not_an_entry(line_number, "it has `parts` but lacks `number`, `time` or `status`")
    return entry


def _not_an_entry(line_number: int, reason: str) -> ValueError:
    return ValueError(
        f"line {line_number} of the audit log is not an entry: {reason}; keep the file, and set `--audit` to a new one"
    )


class _InvalidValue(ValueError):
    """Valid JSON that the service never writes; the message is the reason."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise _InvalidValue("it has a key twice")
    return unique


def _refuse_infinite(_: str) -> float:
    raise _InvalidValue("it has a number that is not finite")


def _finite_float(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse_infinite(text)


def _short_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _InvalidValue(f"it has a number of more than {_MAX_DIGITS} digits")
    return int(text)


def _is_count(value: object, most: int = _MAX_NUMBER) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and value.isprintable() and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_part(value: object) -> bool:
    return isinstance(value, dict) and _is_count(value.get("bytes")) and _is_digest(value.get("hmac"))


_VALIDATORS: dict[str, Callable[[Any], bool]] = {
    "time": _is_time,
    "event": lambda value: value in ("start", "stop"),
    "number": _is_count,
    "parts": lambda value: isinstance(value, list) and all(map(_is_part, value)),
    "modalities": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "status": lambda value: _is_count(value, 999),
    "bundle": lambda value: isinstance(value, str),
    "milliseconds": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
    "previous": _is_digest,
}
"""Test of each value of an entry; an entry may hold further values."""
