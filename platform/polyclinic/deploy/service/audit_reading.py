"""Reads audit logs, which may be damaged or forged: each line is an entry, or a sentence says why it is not."""

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
_LONGEST_LINE = 1 << 20
_LARGEST_NUMBER, _MOST_DIGITS = 1 << 53, 20


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a log holds.

    Attributes:
        lines: how many.
        head: digest of the last of them; who keeps it elsewhere will notice lines that were cut off.
        number: of the last request in it.
        last: bytes of the last line.
    """

    lines: int
    head: str
    number: int
    last: int


def verified(path: Path, *, expect: str | None = None) -> Chain:
    """Check that each line follows from the one before it.

    Args:
        path: of the log.
        expect: a head that it once had.

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
    """Lines, by place, of requests that a file was in.

    Args:
        path: of the log.
        content: the file.

    Raises:
        ValueError: the key is gone, or a file cannot be read.
    """
    digest = hmac.new(read_key(path), digestmod=hashlib.sha256)
    try:
        _refuse_unusual(content, "the file to find", "--find")
        with content.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise ValueError(f"the file to find cannot be read ({type(error).__name__}); set `--find`") from None
    sought = digest.hexdigest()
    for place, line in enumerate(_lines(path), start=1):
        entry = _entry(line, place)
        if any(part["hmac"] == sought for part in entry.get("parts", ())):
            yield place, entry


def read_key(log: Path) -> bytes:
    """The key of a log.

    Raises:
        ValueError: it is missing or damaged, or others than its owner may read it.
    """
    place = log.with_name(f"{log.name}.key")
    refuse_shared(place, "key of the audit log")
    try:
        key = bytes.fromhex(place.read_text(encoding="ascii")) if place.is_file() else b""
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            "the key of the audit log, which lies beside it with the ending .key, is missing or damaged; put it back, "
            "or set `--audit` to a new file"
        )
    return key


def _lines(path: Path) -> Iterator[bytes]:
    try:
        _refuse_unusual(path, "the audit log", "its path")
        with path.open("rb") as stream:
            place = 0
            while line := stream.readline(_LONGEST_LINE + 1):
                place += 1
                if len(line) > _LONGEST_LINE:
                    raise _not_an_entry(place, f"it is longer than {_LONGEST_LINE} bytes")
                if not line.endswith(b"\n"):
                    raise ValueError(
                        f"line {place} of the audit log ends in the middle, as after a power cut; keep the file, and "
                        "set `--audit` to a new one"
                    )
                yield line[:-1]
    except OSError as error:
        raise ValueError(f"the audit log cannot be read ({type(error).__name__}); set its path") from None


def _refuse_unusual(path: Path, what: str, setting: str) -> None:
    """A device or a pipe may have no end."""
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise ValueError(f"{what} is not a regular file; set `{setting}`")


def _entry(line: bytes, place: int) -> dict[str, Any]:
    try:
        entry = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_infinite,
            parse_float=_finite,
            parse_int=_short,
        )
    except RecursionError:
        raise _not_an_entry(place, "it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _not_an_entry(place, "it is not UTF-8") from None
    except _OddValue as odd:
        raise _not_an_entry(place, str(odd)) from None
    except ValueError:
        raise _not_an_entry(place, "it is not JSON" if line.strip() else "it is empty") from None
    if not isinstance(entry, dict):
        raise _not_an_entry(place, "it is not a JSON object")
    for name, is_right in _RULES.items():
        if name in entry and not is_right(entry[name]):
            raise _not_an_entry(place, f"its `{name}` is not a value that the service writes")
    if "parts" in entry and not {"number", "time", "status"} <= set(entry):
        raise _not_an_entry(place, "it has `parts` but lacks `number`, `time` or `status`")
    return entry


def _not_an_entry(place: int, why: str) -> ValueError:
    return ValueError(
        f"line {place} of the audit log is not an entry: {why}; keep the file, and set `--audit` to a new one"
    )


class _OddValue(ValueError):
    """JSON as this service never writes it."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _OddValue("it has a key twice")
    return found


def _infinite(_: str) -> float:
    raise _OddValue("it has a number that is not finite")


def _finite(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _infinite(text)


def _short(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _OddValue(f"it has a number of more than {_MOST_DIGITS} digits")
    return int(text)


def _is_whole(value: object, most: int = _LARGEST_NUMBER) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and value.isprintable() and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_part(value: object) -> bool:
    return isinstance(value, dict) and _is_whole(value.get("bytes")) and _is_digest(value.get("hmac"))


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _unique, "parse_constant": _infinite, "parse_float": _finite, "parse_int": _short,
}  # fmt: skip
_RULES: dict[str, Callable[[Any], bool]] = {
    "time": _is_time,
    "event": lambda value: value in ("start", "stop"),
    "number": _is_whole,
    "parts": lambda value: isinstance(value, list) and all(map(_is_part, value)),
    "modalities": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "status": lambda value: _is_whole(value, 999),
    "bundle": lambda value: isinstance(value, str),
    "milliseconds": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 0,
    "previous": _is_digest,
}
"""What each value of an entry is; an entry may have others beside these."""
