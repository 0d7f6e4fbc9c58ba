"""What a cell of a table says: a number, one of several texts, an identifier, or nothing."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_LARGEST = Decimal("3.4e38")
"""Larger labels overflow float32, in which a model computes."""

_WHOLE = re.compile(r"0*([0-9]+?)(?:\.0*)?")
_EXCEL = re.compile(r"=\"(.*)\"|'(.*)")
_NO_VALUES = frozenset(
    {
        "", "na", "n/a", "n.a.", "n.a", "#n/a", "<na>", "nan", "nat", "none", "null", "nil", "(null)", "unknown", "unk",
        "missing", "undefined", "-1", "-1.0", "-", "--", "?", ".", "#value!", "#ref!",
    }
)  # fmt: skip


def read_number(cell: str) -> Decimal | None:
    """The number that a cell writes in ASCII digits; None for other text, infinity, and what overflows float32."""
    if not _NUMBER.fullmatch(cell):
        return None
    number = Decimal(cell)
    return number if abs(number) <= _LARGEST else None


def stands_for_nothing(cell: str) -> bool:
    """Whether a text is a common way to write that there is no value, such as ``NA`` or ``null``."""
    return cell.strip().casefold() in _NO_VALUES


def canonical_id(text: str) -> str:
    """An identifier without what tables add or lose when they are copied.

    Compatibility characters and decimal digits of any script become plain ones, surrounding and repeated spaces and
    invisible characters go, and so do leading zeros and ``.0`` of whole numbers. The case of letters goes where an
    identifier has one case only: mixed case may carry meaning, as in Base64.
    """
    plain = " ".join((text if text.isascii() and text.isprintable() else _plain(text)).split())
    if match := _EXCEL.fullmatch(plain):
        plain = (match[1] or match[2] or "").strip()
    if match := _WHOLE.fullmatch(plain):
        return match[1]
    return plain.casefold() if plain.isupper() or plain.islower() or plain.istitle() else plain


def _plain(text: str) -> str:
    return "".join(
        str(unicodedata.decimal(sign)) if sign.isdecimal() else sign
        for sign in unicodedata.normalize("NFKC", text)
        if sign.isspace() or unicodedata.category(sign) not in ("Cf", "Cc")
    )


class CellNames:
    """Finds which of several names a cell means: the same text, else the same number or boolean.

    Args:
        names: as a cohort file writes them.

    Raises:
        ValueError: two names mean the same cell.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._places: dict[str | Decimal, int] = {}
        self._folded: dict[str, str] = {}
        for place, name in enumerate(names):
            text = name.strip()
            meant = {text, _meaning(text)}
            if same := meant & self._places.keys():
                raise ValueError(f"{names[self._places[same.pop()]]!r} and {name!r} mean the same cell; leave one")
            self._places |= dict.fromkeys(meant, place)
            self._folded.setdefault(_folded(text), name)

    def place(self, cell: str) -> int | None:
        """Index of the name that a cell means; None where no name does."""
        text = cell.strip()
        return self._places[text] if text in self._places else self._places.get(_meaning(text))

    def near(self, cell: str) -> str | None:
        """The name that differs from a cell in case, spaces or Unicode form alone."""
        return self._folded.get(_folded(cell))


def _meaning(text: str) -> str | Decimal:
    """A number by its value; ``true`` and ``false`` in any case, as programs write them differently."""
    number = read_number(text)
    if number is not None:
        return number
    return text.lower() if text.lower() in ("true", "false") else text


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
