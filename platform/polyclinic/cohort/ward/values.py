"""Values of results from numbers and texts, as they were sent."""

import re
from decimal import Decimal

from polyclinic.cohort.cells import read_number
from polyclinic.cohort.ward.left_out import NotUsed
from polyclinic.modality import ReferenceRange, Value

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?"
_BOUND = re.compile(rf"(<=|>=|<|>)\s*({_NUMBER})")
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})")
_IS_NUMBER = re.compile(_NUMBER)
MAX_FLOAT32 = 3.4e38
_MAX_LENGTH = 60
"""Characters of a number or a range; matching longer texts would take quadratic time."""

COMPARATORS = ("<", "<=", ">", ">=")


def number_of(text: str) -> float | None:
    """Return a plain decimal number; None for other text.

    Raises:
        NotUsed: the number does not fit into 32 bits.
    """
    if len(text) > _MAX_LENGTH or not _IS_NUMBER.fullmatch(text):
        return None
    number = read_number(text)
    if number is None:
        raise NotUsed("out-of-range")
    return float(number)


def number_in_range(number: Decimal | float) -> float:
    """Return a number as a float.

    Raises:
        NotUsed: it does not fit into 32 bits.
    """
    value = float(number)
    if not abs(value) <= MAX_FLOAT32:
        raise NotUsed("out-of-range")
    return value


def value_of_text(text: str, unit: str = "", unit_system: str = "") -> Value:
    """Return a value that was sent as text: a number, a bound such as ``<0.1``, or other text.

    Raises:
        NotUsed: there is no text, or its number does not fit into 32 bits.
    """
    text = text.strip()
    if not text:
        raise NotUsed("without-value")
    if (number := number_of(text)) is not None:
        return Value(number=number, unit=unit, unit_system=unit_system)
    bound = _BOUND.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    return Value(text=text, comparator=bound[1] if bound else "", unit=unit, unit_system=unit_system)


def range_of_text(text: str) -> ReferenceRange:
    """Return a reference range such as ``12-16``, ``<5`` or ``>=60``; other text stays text."""
    text = text.strip()
    if len(text) > _MAX_LENGTH:
        return ReferenceRange(text=text)
    try:
        if match := _RANGE.fullmatch(text):
            low, high = number_of(match[1]), number_of(match[2])
            if low is not None and high is not None and low <= high:
                return ReferenceRange(low=low, high=high, text=text)
        elif match := _BOUND.fullmatch(text):
            limit = number_of(match[2])
            below = match[1].startswith("<")
            return ReferenceRange(low=None if below else limit, high=limit if below else None, text=text)
    except NotUsed:
        pass
    return ReferenceRange(text=text)
