"""Read JSON within bounds: one document, or one per line (NDJSON)."""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NoReturn

from polyclinic.cohort.ward.left_out import NotUsed

MAX_BYTES = 100_000_000
"""Largest file, or line of NDJSON, that is held in memory."""

_MAX_DEPTH = 60
"""Levels of objects and lists; an entry of a FHIR bundle has some ten."""

_MAX_DIGITS = 40
_MAX_EXPONENT = 400


def is_json(head: bytes) -> bool:
    """Return whether a file starts like a JSON object."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def json_documents(path: Path) -> Iterator[dict[str, Any] | NotUsed]:
    """Yield the objects of a file, and in place of a line that cannot be read the reason.

    Numbers with a decimal point are ``Decimal``, so that they stay as they were sent.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        first = stream.readline(MAX_BYTES + 1)
        try:
            document = _object(first)
        except NotUsed:
            stream.seek(0)
            yield _caught(stream.read(MAX_BYTES + 1))
            return
        yield document
        while line := stream.readline(MAX_BYTES + 1):
            if line.strip():
                result = _caught(line)
                yield result
                if isinstance(result, NotUsed) and result.reason == "too-large":
                    return


def _caught(content: bytes) -> dict[str, Any] | NotUsed:
    try:
        return _object(content)
    except NotUsed as why:
        return why


def _object(content: bytes) -> dict[str, Any]:
    """Parse one object.

    Raises:
        NotUsed: it is too large, cut off, nested too deep, repeats a key, or holds a number that is not one.
    """
    if len(content) > MAX_BYTES:
        raise NotUsed("too-large", f"more than {MAX_BYTES:,} bytes in one JSON document")
    try:
        found = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_unique,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError:
        raise NotUsed("charset", "JSON that is not UTF-8") from None
    except RecursionError:
        raise NotUsed("broken", f"JSON nested more than {_MAX_DEPTH} deep") from None
    except ValueError:
        raise NotUsed("broken", "JSON that cannot be parsed") from None
    if not isinstance(found, dict):
        raise NotUsed("not-a-record", "JSON that is not an object")
    if _is_deeper(found, _MAX_DEPTH):
        raise NotUsed("broken", f"JSON nested more than {_MAX_DEPTH} deep")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotUsed("broken", "JSON with a repeated key")
    return found


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text) if len(text) <= _MAX_DIGITS else None
    except InvalidOperation:  # an exponent beyond those of Decimal
        number = None
    if number is None or abs(int(number.as_tuple().exponent)) > _MAX_EXPONENT:
        raise NotUsed("broken", "JSON with a number of too many digits")
    return number


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise NotUsed("broken", "JSON with a number of too many digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise NotUsed("broken", "JSON with a number that is not finite")


def _is_deeper(found: Any, limit: int) -> bool:
    """Return whether objects and lists are nested deeper than a limit, without recursion."""
    level = [found]
    for _ in range(limit):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
