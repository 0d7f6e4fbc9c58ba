"""Parse table cells: numbers, listed names, identifiers and missing values."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_MAX_NUMBER = Decimal("3.4e38")
"""Just below the float32 maximum; models compute in float32."""

_INTEGER = re.compile(r"0*([0-9]+?)(?:\.0*)?")
_EXCEL = re.compile(r"=\"(.*)\"|'(.*)")
_MISSING_VALUES = frozenset(
    {
        "", "na", "n/a", "n.a.", "n.a", "#n/a", "<na>", "nan", "nat", "none", "null", "nil", "(null)", "unknown", "unk",
        "missing", "undefined", "-1", "-1.0", "-", "--", "?", ".", "#value!", "#ref!",
    }
)  # fmt: skip


def read_number(cell: str) -> Decimal | None:
    """Parse a number in ASCII digits; return None for other text, infinity and values that overflow float32."""
    if not _NUMBER.fullmatch(cell):
        return None
    number = Decimal(cell)
    return number if abs(number) <= _MAX_NUMBER else None


def is_missing_value(cell: str) -> bool:
    """Return whether a text is a common marker for a missing value, such as ``NA`` or ``null``."""
    return cell.strip().casefold() in _MISSING_VALUES


def canonical_id(text: str) -> str:
    """Normalize an identifier, so that copies from different tables compare equal.

    Compatibility characters and decimal digits of any script become plain ones; surrounding and repeated spaces,
    invisible characters, leading zeros and the ``.0`` of integers are removed. Letters are case-folded only in an
    identifier that is all upper, all lower or title case: mixed case may carry meaning, as in Base64.
    """
    plain = " ".join((text if text.isascii() and text.isprintable() else _plain(text)).split())
    if match := _EXCEL.fullmatch(plain):
        plain = (match[1] or match[2] or "").strip()
    if match := _INTEGER.fullmatch(plain):
        return match[1]
    return plain.casefold() if plain.isupper() or plain.islower() or plain.istitle() else plain


def _plain(text: str) -> str:
    return "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in unicodedata.normalize("NFKC", text)
        if character.isspace() or unicodedata.category(character) not in ("Cf", "Cc")
    )


class CellNames:
    """Match cells to a list of names: by equal text, else by equal number or boolean.

    Args:
        names: spellings from the cohort file.

    Raises:
        ValueError: two names match the same cell.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._places: dict[str | Decimal, int] = {}
        self._folded: dict[str, str] = {}
        for place, name in enumerate(names):
            text = name.strip()
            keys = {text, _value(text)}
            if same := keys & self._places.keys():
                raise ValueError(f"{names[self._places[same.pop()]]!r} and {name!r} match the same cell; remove one")
            self._places |= dict.fromkeys(keys, place)
            self._folded.setdefault(_folded(text), name)

    def place(self, cell: str) -> int | None:
        """Return the index of the name that matches a cell; None where none does."""
        text = cell.strip()
        return self._places[text] if text in self._places else self._places.get(_value(text))

    def near(self, cell: str) -> str | None:
        """Return the name that differs from a cell only in case, spaces or Unicode form."""
        return self._folded.get(_folded(cell))


def _value(text: str) -> str | Decimal:
    """Return a number as ``Decimal`` and a boolean in lower case, as programs differ in how they write them."""
    number = read_number(text)
    if number is not None:
        return number
    return text.lower() if text.lower() in ("true", "false") else text


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
