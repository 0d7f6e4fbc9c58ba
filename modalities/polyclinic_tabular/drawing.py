"""Pictures of a row: the service's view, relevance per column, and imputed rows."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.special import ndtri
from torch import Tensor

from polyclinic.modality import HEAT, Entry, OnRows, Rows, relative_relevance
from polyclinic_tabular.row import Row
from polyclinic_tabular.scaling import from_percentile, from_zscore

_MOST = 20


def draw_columns(names: Sequence[str], texts: Sequence[str], relevance: Float[Tensor, " T"], axes: Axes) -> None:
    """Draw a bar for each of the most relevant columns, with the column's name and value.

    Args:
        names: of the columns.
        texts: values with their units; empty where missing, which may be relevant too.
        relevance: of the columns.
        axes: to draw on.

    Raises:
        ValueError: another number of tokens than of columns, or a relevance that cannot be drawn.
    """
    if len(relevance) != len(names):
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected one for each of {len(names)} columns; give a row "
            "of `token_relevance`, for an encoder with a token per column"
        )
    strength = relative_relevance(relevance)
    chosen = np.argsort(-strength, kind="stable")[:_MOST]
    labels = [f"{names[column]}: {texts[column] or 'missing'}" for column in chosen]
    axes.barh(range(len(chosen)), strength[chosen], color=HEAT, height=0.7)
    axes.set_yticks(range(len(chosen)), labels, fontsize=7, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(chosen) - 0.4, -0.6), xlabel="relevance, as a share of the largest")


_WARNING = "synthetic: predicted by a model from other modalities, never measured"


def draw_row(names: Sequence[str], texts: Sequence[str], places: Sequence[float], axes: Axes) -> None:
    """Draw where each column's value lies among those of training, with the value beside it.

    Args:
        names: of the columns.
        texts: values with their units; empty where unknown.
        places: from 0 to 1, NaN where unknown or without an order.
        axes: to draw on.
    """
    rows = range(len(names))
    axes.barh(rows, np.nan_to_num(np.clip(places, 0, 1)), color="#56B4E9", height=0.7)
    for row, text in zip(rows, texts, strict=True):
        axes.text(0.02, row, text, va="center", fontsize=7)
    axes.set_yticks(rows, names, fontsize=7)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xlabel="share of training values below")


def write_row(names: Sequence[str], values: Sequence[str], units: Sequence[str], path: Path) -> Path:
    """Write name, value, unit and, in every line, where the value comes from."""
    written = path.with_name(f"{path.name}.csv")
    lines = zip(names, values, units, [_WARNING] * len(names), strict=True)
    with written.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("name", "value", "unit", "source"), *lines])
    return written


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
