"""Draw rows: the view of the service page, relevance per column, and imputed rows."""

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

_MAX_BARS = 20


def draw_columns(names: Sequence[str], texts: Sequence[str], relevance: Float[Tensor, " T"], axes: Axes) -> None:
    """Draw a bar for each of the most relevant columns, labelled with its name and value.

    Args:
        names: names of the columns.
        texts: values with their units, empty where missing; a missing value may be relevant too.
        relevance: relevance of each column.
        axes: Matplotlib axes.

    Raises:
        ValueError: the number of tokens differs from that of columns, or the relevance cannot be drawn.
    """
    if len(relevance) != len(names):
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected one for each of {len(names)} columns; pass a row "
            "of `token_relevance`, for an encoder with a token per column"
        )
    strength = relative_relevance(relevance)
    chosen = np.argsort(-strength, kind="stable")[:_MAX_BARS]
    labels = [f"{names[column]}: {texts[column] or 'missing'}" for column in chosen]
    axes.barh(range(len(chosen)), strength[chosen], color=HEAT, height=0.7)
    axes.set_yticks(range(len(chosen)), labels, fontsize=7, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(chosen) - 0.4, -0.6), xlabel="relevance, as a share of the largest")


_WARNING = "synthetic: predicted by a model from other modalities, never measured"


def draw_row(names: Sequence[str], texts: Sequence[str], places: Sequence[float], axes: Axes) -> None:
    """Draw the quantile of each value among those of the training split, with the value beside it.

    Args:
        names: names of the columns.
        texts: values with their units, empty where unknown.
        places: quantiles from 0 to 1; NaN for unknown values and for levels.
        axes: Matplotlib axes.
    """
    rows = range(len(names))
    axes.barh(rows, np.nan_to_num(np.clip(places, 0, 1)), color="#56B4E9", height=0.7)
    for row, text in zip(rows, texts, strict=True):
        axes.text(0.02, row, text, va="center", fontsize=7)
    axes.set_yticks(rows, names, fontsize=7)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xlabel="share of training values below")


def write_row(names: Sequence[str], values: Sequence[str], units: Sequence[str], path: Path) -> Path:
    """Write a CSV file of name, value and unit, with a warning in every line that the value is synthetic."""
    target = path.with_name(f"{path.name}.csv")
    lines = zip(names, values, units, [_WARNING] * len(names), strict=True)
    with target.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("name", "value", "unit", "source"), *lines])
    return target


_TAIL_SHARE = 0.025
_PERCENTILE_CAPTION = "reference ranges: the middle 95 % of the training split, not those of a laboratory"
_NORMAL_CAPTION = "reference ranges: mean and 1.96 deviations of the training split, not those of a laboratory"
_UNFITTED_CAPTION = "no reference ranges: the scales are not fitted"


def view_row(
    raw: Row,
    *,
    numeric: Sequence[str],
    categorical: Mapping[str, Sequence[str]],
    units: Mapping[str, str],
    scales: Sequence[Sequence[float]] | None,
    scaling: str,
) -> Rows:
    """Return the view of a row, with an entry for every column.

    Args:
        raw: decoded row.
        numeric: numeric columns.
        categorical: categorical columns with their levels.
        units: units of numeric columns.
        scales: scale of each numeric column, empty for one without a training value; None before ``fit``.
        scaling: kind of the scales, ``percentile`` or ``zscore``.
    """
    quantile = from_percentile if scaling == "percentile" else _normal_quantile
    numbers = [
        _number(name, float(value), units.get(name, ""), scale, quantile)
        for name, value, scale in zip(numeric, raw.values, scales or [[]] * len(numeric), strict=True)
    ]
    levels = [
        Entry(name=name, level=choices[level - 1] if level else None)
        for (name, choices), level in zip(categorical.items(), raw.levels.tolist(), strict=True)
    ]
    fitted = _PERCENTILE_CAPTION if scaling == "percentile" else _NORMAL_CAPTION
    return Rows(entries=(*numbers, *levels), caption=fitted if scales is not None else _UNFITTED_CAPTION)


def locate_columns(relevance: Float[Tensor, " T"], columns: int) -> OnRows:
    """Return the relevance of every column, for the view.

    Raises:
        ValueError: the number of tokens differs from that of columns, or the relevance cannot be drawn.
    """
    if len(relevance) != columns:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected one for each of {columns} columns; pass a row of "
            "`token_relevance`, for an encoder with a token per column"
        )
    return OnRows(strength=relative_relevance(relevance))


def _number(
    name: str, value: float, unit: str, scale: Sequence[float], quantile: Callable[[float, Sequence[float]], float]
) -> Entry:
    low, high = (quantile(share, scale) if scale else None for share in (_TAIL_SHARE, 1 - _TAIL_SHARE))
    return Entry(name=name, value=None if np.isnan(value) else value, unit=unit, low=low, high=high)


def _normal_quantile(share: float, moments: Sequence[float]) -> float:
    return from_zscore(float(ndtri(share)), moments)
