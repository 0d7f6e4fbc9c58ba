"""Parse the cells of numeric columns: plain numbers, and text that stands for a number."""

import re
from collections.abc import Callable

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_BOUND_OR_UNIT = re.compile(rf"(?:[<>≤≥]=?\s*)?({_NUMBER})\s*\+?(?!s$)\s*(?:[A-Za-zµμ%°/]*[A-Za-z%°])?", re.ASCII)
_RANGE = re.compile(
    r"(\d+\.?\d*)\s*(?:-|–|to)\s*(\d+\.?\d*)\s*(?:[A-Za-zµμ%°/]*[A-Za-z%°])?",  # noqa: RUF001
    re.ASCII,
)
_DECADE = re.compile(r"(early|low|mid|late|high)[\s-]+(\d*0)'?s", re.ASCII | re.IGNORECASE)
_WITHIN_DECADE = {"early": 2.0, "low": 2.0, "mid": 5.0, "late": 7.0, "high": 8.0}


def plain_number(text: str) -> float | None:
    """Parse a number with a decimal point and perhaps an exponent; None for anything else, such as a decimal comma."""
    return _finite(text) if _PLAIN.fullmatch(text) else None


def approximate_number(text: str) -> float | None:
    """Parse approximate notation into a number, or return None.

    ``50+``, ``>90`` and ``<5`` give the bound, ``91-92`` the middle, ``38 C`` the number before its unit,
    ``early 40s`` 42, ``mid 50s`` 55, ``late 60s`` 67, ``low 90s`` 92 and ``high 80s`` 88.
    """
    parsers: list[tuple[re.Pattern[str], Callable[[re.Match[str]], float | None]]] = [
        (_BOUND_OR_UNIT, lambda match: _finite(match[1])),
        (_RANGE, _middle),
        (_DECADE, lambda match: float(match[2]) + _WITHIN_DECADE[match[1].lower()]),
    ]
    for pattern, parse in parsers:
        if match := pattern.fullmatch(text):
            return parse(match)
    return None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if abs(value) != float("inf") else None


def _middle(found: re.Match[str]) -> float | None:
    low, high = float(found[1]), float(found[2])
    return (low + high) / 2 if low < high else None
