"""Columns that a user left out of the settings, taken from the training rows of the cohort."""

import re
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from polyclinic_tabular.quantities import plain_number

MOST_LEVELS = 20
_NUMERIC_SHARE = 0.9
"""Of the cells that are not empty; the rest is text in a numeric column, as ``text_values`` reads it."""

_IDENTIFIER_NAME = re.compile(r"(?:^|[^a-z])(?:id|mrn|ssn|phone|accession)(?:$|[^a-z])", re.IGNORECASE)
_IDENTIFIER_DIGITS = 7
_LONGEST_CODE = 3
_COMMON_LEVELS = frozenset(
    [
        "male",
        "female",
        "divers",
        "other",
        "true",
        "false",
        "positive",
        "negative",
        "unknown",
        "none",
        "normal",
        "abnormal",
        "high",
        "mild",
        "moderate",
        "severe",
        "former",
        "current",
        "never",
        "elective",
        "urgent",
    ]
)


class Columns(NamedTuple):
    """Numeric columns, categorical ones with their levels, and the others with the reason why they are left out."""

    numeric: list[str]
    categorical: dict[str, list[str]]
    left_out: dict[str, str]


def infer_columns(rows: Sequence[Mapping[str, str]], absent: Set[str]) -> Columns:
    """Decide for each column of a cohort what it holds.

    Args:
        rows: cells by column of the training studies.
        absent: texts that stand for no value, in small letters.
    """
    columns = Columns([], {}, {})
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [str(row.get(name, "")).strip() for row in rows]
        known = [cell for cell in cells if cell.casefold() not in absent]
        numbers = sum(plain_number(cell) is not None for cell in known)
        levels = sorted(set(known))
        if not known:
            columns.left_out[name] = "no training study has a value"
        elif _identifies(name, levels):
            columns.left_out[name] = "it looks like an identifier; name it in `numeric` or `categorical` if it is not"
        elif numbers >= _NUMERIC_SHARE * len(known):
            columns.numeric.append(name)
        elif len(levels) <= MOST_LEVELS:
            columns.categorical[name] = levels
        else:
            columns.left_out[name] = f"{len(levels)} different texts, more than {MOST_LEVELS} levels"
    return columns


def is_code(levels: Sequence[str]) -> bool:
    """Whether the levels of a column are codes or common words, in which no person can be named."""
    return all(len(level) <= _LONGEST_CODE or level.casefold() in _COMMON_LEVELS for level in levels)


def _identifies(name: str, texts: Sequence[str]) -> bool:
    long_numbers = sum(text.isdecimal() and len(text) >= _IDENTIFIER_DIGITS for text in texts)
    return bool(_IDENTIFIER_NAME.search(name)) or long_numbers > len(texts) / 2
