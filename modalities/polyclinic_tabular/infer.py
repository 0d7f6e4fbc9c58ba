"""Infer numeric and categorical columns from the training rows of a cohort."""

import re
from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from polyclinic.modality import identifying_fields, labelled_names
from polyclinic_tabular.panel import CATEGORICAL, UNITS
from polyclinic_tabular.quantities import plain_number

MAX_LEVELS = 20
_NUMERIC_SHARE = 0.9
"""Smallest share of numbers among the cells of a numeric column; ``text_values`` decides how the rest is read."""

_IDENTIFIER_NAME = re.compile(r"(?:^|[^a-z])(?:id|mrn|ssn|phone|accession)(?:$|[^a-z])", re.IGNORECASE)
_MIN_IDENTIFIER_DIGITS = 7
_MAX_CODE_LENGTH = 3
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
    """Inferred columns.

    Attributes:
        numeric: numeric columns.
        categorical: categorical columns with their levels.
        left_out: columns that are not used, with the reason.
    """

    numeric: list[str]
    categorical: dict[str, list[str]]
    left_out: dict[str, str]


def infer_columns(rows: Sequence[Mapping[str, str]], absent: Set[str]) -> Columns:
    """Sort the columns of a cohort into numeric, categorical and unused ones.

    Args:
        rows: cells by column of the training studies.
        absent: texts that mean a missing value, in lower case.
    """
    columns = Columns([], {}, {})
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [str(row.get(name, "")).strip() for row in rows]
        present = [cell for cell in cells if cell.casefold() not in absent]
        numbers = sum(plain_number(cell) is not None for cell in present)
        levels = sorted(set(present))
        if not present:
            columns.left_out[name] = "no training study has a value"
        elif _identifies(name, levels):
            columns.left_out[name] = "it looks like an identifier; if it is not, add it to `numeric` or `categorical`"
        elif kinds := _identifying(name, levels):
            columns.left_out[name] = (
                f"it seems to hold {' and '.join(kinds)}; if it does not, add it to `numeric` or `categorical`"
            )
        elif numbers >= _NUMERIC_SHARE * len(present):
            columns.numeric.append(name)
        elif len(levels) > MAX_LEVELS:
            columns.left_out[name] = f"{len(levels)} distinct texts, more than {MAX_LEVELS} levels"
        elif is_code(levels) or 2 * len(levels) <= len(present):
            columns.categorical[name] = levels
        else:
            columns.left_out[name] = (
                f"{len(levels)} distinct texts in {len(present)} studies, which are not levels; if they are, add it to "
                "`categorical`"
            )
    return columns


def without_names(columns: Columns) -> Columns:
    """Return the columns without those whose levels are labelled as names, such as the physician's.

    Nobody has chosen the columns of files, and levels become part of checkpoints and bundles.
    """
    named = {
        name: "its levels may name a person; if they do not, list them in `categorical`"
        for name, levels in columns.categorical.items()
        if labelled_names("\n".join(f"{name}: {level}" for level in levels))
    }
    remaining = {name: levels for name, levels in columns.categorical.items() if name not in named}
    return columns._replace(categorical=remaining, left_out=columns.left_out | named)


def in_panel_order(columns: Columns) -> Columns:
    """Return the columns with those of the phantom's panel first, in its order and with its levels.

    The items of a phantom are then the same as with the panel, also where a small split lacks a level.
    """
    place = {name: index for index, name in enumerate(UNITS)}
    known = {name: list(CATEGORICAL[name]) for name in CATEGORICAL if name in columns.categorical}
    complete = {name: levels for name, levels in known.items() if set(columns.categorical[name]) <= {*levels}}
    return columns._replace(
        numeric=sorted(columns.numeric, key=lambda name: place.get(name, len(place))),
        categorical=complete | {name: levels for name, levels in columns.categorical.items() if name not in complete},
    )


def is_code(levels: Sequence[str]) -> bool:
    """Return whether the levels of a column are codes or common words, which cannot name a person."""
    return all(len(level) <= _MAX_CODE_LENGTH or level.casefold() in _COMMON_LEVELS for level in levels)


def _identifying(name: str, texts: Sequence[str]) -> list[str]:
    return identifying_fields("\n".join(f"{name}: {text}" for text in texts[:MAX_LEVELS]))


def _identifies(name: str, texts: Sequence[str]) -> bool:
    long_numbers = sum(text.isdecimal() and len(text) >= _MIN_IDENTIFIER_DIGITS for text in texts)
    return bool(_IDENTIFIER_NAME.search(name)) or long_numbers > len(texts) / 2
