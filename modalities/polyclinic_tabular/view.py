"""What people see of a row: values beside the range that most of the training split has."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from torch import Tensor

from polyclinic.modality import Entry, OnRows, Rows, relative_relevance
from polyclinic_tabular.row import Row
from polyclinic_tabular.scaling import from_percentile, from_zscore

_OUTSIDE = 0.025
_CAPTION = "reference ranges: the middle 95 % of the training split, not those of a laboratory"
_NORMAL = "reference ranges: mean and 1.96 deviations of the training split, not those of a laboratory"
_UNKNOWN = "no reference ranges: nothing was learned yet"


def view_row(
    raw: Row,
    *,
    numeric: Sequence[str],
    categorical: Mapping[str, Sequence[str]],
    units: Mapping[str, str],
    scales: Sequence[Sequence[float]] | None,
    scaling: str,
) -> Rows:
    """Show every column of a row.

    Args:
        raw: decoded.
        numeric: columns.
        categorical: columns with their levels.
        units: of numeric columns.
        scales: of numeric columns, empty for one without a value in training; None before they were learned.
        scaling: what they are, ``percentile`` or ``zscore``.
    """
    end = from_percentile if scaling == "percentile" else _of_normal
    numbers = [
        _number(name, float(value), units.get(name, ""), scale, end)
        for name, value, scale in zip(numeric, raw.values, scales or [[]] * len(numeric), strict=True)
    ]
    levels = [
        Entry(name=name, level=known[level - 1] if level else None)
        for (name, known), level in zip(categorical.items(), raw.levels.tolist(), strict=True)
    ]
    learned = _CAPTION if scaling == "percentile" else _NORMAL
    return Rows(entries=(*numbers, *levels), caption=learned if scales is not None else _UNKNOWN)


def locate_columns(relevance: Float[Tensor, " T"], columns: int) -> OnRows:
    """Relevance of every column.

    Raises:
        ValueError: another number of tokens than of columns, or a relevance that cannot be drawn.
    """
    if len(relevance) != columns:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected one for each of {columns} columns; give a row of "
            "`token_relevance`, for an encoder with a token per column"
        )
    return OnRows(strength=relative_relevance(relevance))


def _number(
    name: str, value: float, unit: str, scale: Sequence[float], end: Callable[[float, Sequence[float]], float]
) -> Entry:
    low, high = (end(share, scale) if scale else None for share in (_OUTSIDE, 1 - _OUTSIDE))
    return Entry(name=name, value=None if np.isnan(value) else value, unit=unit, low=low, high=high)


def _of_normal(share: float, moments: Sequence[float]) -> float:
    return from_zscore(float(ndtri(share)), moments)
