"""Tabular modality: laboratory values, vital signs and coded facts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.special import ndtr
from torch import Tensor

from polyclinic.modality import (
    BaselineFeatures,
    Cleaned,
    Identity,
    Issue,
    Item,
    Modality,
    OnRows,
    Physiology,
    Recognised,
    Rows,
    Source,
    UnreadableSource,
)
from polyclinic.nn import Encoder, FixedFeatures, Transformer, TransformerEncoder
from polyclinic_tabular.cells import read_cells
from polyclinic_tabular.deidentify import row_names, write_clean_row
from polyclinic_tabular.drawing import draw_columns, draw_row, locate_columns, view_row, write_row
from polyclinic_tabular.features import ColumnFeatures
from polyclinic_tabular.infer import Columns, in_panel_order, infer_columns, is_code, without_names
from polyclinic_tabular.issues import row_issues
from polyclinic_tabular.names import describe_unused, match_columns
from polyclinic_tabular.panel import CATEGORICAL, UNITS
from polyclinic_tabular.phantom import write_phantom
from polyclinic_tabular.quantities import approximate_number, plain_number
from polyclinic_tabular.row import Row
from polyclinic_tabular.scaling import from_percentile, from_zscore, moments, percentile, percentile_knots, zscore
from polyclinic_tabular.spelling import Pairs, join_files
from polyclinic_tabular.tokens import FeatureTokenizer

Scaling = Literal["percentile", "zscore"]
TextValues = Literal["error", "missing", "approximate"]
_MAX_MAGNITUDE = 1e15
_MAX_NAMED_COLUMNS = 3
MISSING = ("", "NA", "N/A", "nan", "None")


class Tabular(Modality):
    """A row of numbers and levels, from columns of the cohort or one CSV file per study.

    A row has no times, so the cohort must hold only results that were available at the time of prediction. In
    hospital tables that is when a result was stored, not when the specimen was taken.

    Args:
        numeric: numeric columns; if neither these nor ``categorical`` are given, ``adapt`` infers both from the
            training studies. Until then they are those of the phantom's panel.
        categorical: categorical columns with their known levels; any other level counts as missing.
        units: expected units of numeric columns, checked if a file states one; for inferred columns, those that most
            training files state.
        plausible: lowest and highest plausible value of a column; values outside count as missing.
        scaling: ``"percentile"`` (0 to 1) or ``"zscore"``, learned from the training split.
        missing: strings that mean a missing value, in any case.
        text_values: treatment of other text in a numeric column: ``"error"``, ``"missing"``, or ``"approximate"``,
            which reads 50+, 91-92, <5, 38 C and early 40s as numbers.
        encoding: text encoding of CSV files.
        noise: standard deviation of the noise of augmentation, in units of the scaled values.
        drop: share of values and levels hidden in augmentation.

    Raises:
        ValueError: no column, a duplicate column, or an unknown setting.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    title: ClassVar[str] = "Laboratory values"

    def __init__(
        self,
        *,
        numeric: Sequence[str] | None = None,
        categorical: Mapping[str, Sequence[str]] | None = None,
        units: Mapping[str, str] | None = None,
        plausible: Mapping[str, Sequence[float]] | None = None,
        scaling: Scaling = "percentile",
        missing: Sequence[str] = MISSING,
        text_values: TextValues = "error",
        encoding: str = "utf-8-sig",
        noise: float = 0.02,
        drop: float = 0.05,
    ) -> None:
        self._columns_unset, self._units_unset = numeric is None and categorical is None, units is None
        self._adapted, self._shared_names = False, frozenset[str]()
        if self._columns_unset:
            numeric, categorical, units = list(UNITS), CATEGORICAL, UNITS if units is None else units
        self.numeric = list(numeric or [])
        self.categorical = {name: list(levels) for name, levels in (categorical or {}).items()}
        self.units = dict(units or {})
        self.plausible = {name: list(limits) for name, limits in (plausible or {}).items()}
        self.scaling, self.missing, self.text_values = scaling, list(missing), text_values
        self.encoding, self.noise, self.drop = encoding, noise, drop
        self._refuse_wrong_settings()
        self._absent = {text.casefold() for text in missing}
        self._scales: list[list[float]] | None = None

    def read(self, source: Source) -> Row:
        """Decode the configured columns; a column that the source does not have is missing.

        Raises:
            UnreadableSource: the file is broken, it has none of the columns, or a numeric column holds text with
                ``text_values="error"``.
        """
        columns = [*self.numeric, *self.categorical]
        if isinstance(source, Path):
            pairs = read_cells(source, encoding=self.encoding)
        elif isinstance(source, Mapping):
            pairs = [(name, str(cell).strip(), "") for name, cell in source.items()]
        else:
            raise UnreadableSource("got inline text, expected a CSV file or columns; set `columns` in the cohort")
        matched = match_columns(pairs, columns, self.units)
        if pairs and not matched.cells:
            raise UnreadableSource(
                f"none of its {len(pairs)} columns is configured; expected some of {columns}, "
                "set `numeric` and `categorical`"
            )
        return replace(self._decoded(matched.cells), unused=matched.unused, sources=matched.sources)

    def recognise(self, path: Path) -> Recognised:
        """Accept a CSV file with the cells of one study, except of events; it states no identifiers."""
        cells = read_cells(path, encoding=self.encoding)
        if not cells:
            raise UnreadableSource("CSV without a cell")
        if {"time", "code"} <= {name.casefold() for name, _, _ in cells}:
            raise UnreadableSource("CSV of events with times and codes, expected the cells of one study")
        return Recognised()

    def adapt(self, sources: Sequence[Source]) -> dict[str, str]:
        """Infer the columns from a table or from CSV files if neither ``numeric`` nor ``categorical`` was set.

        Files that cannot be read are skipped. A column of files has the unit that most of them state; one of a table
        has none.

        Raises:
            ValueError: none of the columns can be used.
        """
        rows = [source for source in sources if isinstance(source, Mapping)]
        tables = [] if rows or not self._columns_unset else self._readable(sources)
        if not self._columns_unset or not (rows or tables):
            return {}
        if rows:
            inferred = infer_columns(rows, self._absent)
            self._take(inferred, {} if self._units_unset else self.units, inferred.left_out)
            return inferred.left_out
        files = join_files(tables)
        inferred = in_panel_order(without_names(infer_columns(files.rows, self._absent)))
        self._shared_names = files.shared
        left_out = {**inferred.left_out, **files.left_out}
        self._take(inferred, files.units if self._units_unset else self.units, left_out)
        return left_out

    def adapted(self) -> Mapping[str, str]:
        """Return the inferred columns, with their units and levels; levels that may be names are counted."""
        if not self._adapted:
            return {}
        numeric = [f"{name} ({self.units[name]})" if name in self.units else name for name in self.numeric]
        shown = {
            name: ", ".join(levels) if is_code(levels) else f"{len(levels)} text{'s' * (len(levels) > 1)}"
            for name, levels in self.categorical.items()
        }
        categorical = [f"{name} ({levels})" for name, levels in shown.items()]
        columns = {"numeric": numeric, "categorical": categorical}
        return {setting: ", ".join(names) for setting, names in columns.items() if names}

    def notes(self, raw: Row) -> tuple[str, ...]:
        """Return a note on the names in the source that match no column."""
        return (describe_unused(raw.unused),) if raw.unused else ()

    def describe(self, raw: Row) -> Mapping[str, float | str]:
        """Return the share of observed cells, and counts of cells with text, unknown levels or implausible numbers."""
        return raw.facts

    def issues(self, source: Source, raw: Row) -> Iterable[Issue]:
        """Report identifiers, text for numbers, unknown levels, implausible numbers, and rows without a value."""
        approximate = self.text_values == "approximate"
        return row_issues(source, raw, encoding=self.encoding, approximate=approximate)

    def names(self, source: Source) -> Iterable[str]:
        """Return names of persons in columns that are labelled as such, configured or not."""
        if isinstance(source, Path):
            return row_names({name: value for name, value, _ in read_cells(source, encoding=self.encoding)})
        return row_names(source) if isinstance(source, Mapping) else ()

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write the columns as decoded numbers and levels, with ages over 89 as 90."""
        raw = self.read(source)
        # Inferred levels may be names of persons, so only codes and common words are written.
        withheld = [name for name, levels in self.categorical.items() if self._columns_unset and not is_code(levels)]
        return write_clean_row(
            source,
            raw,
            out,
            numeric=self.numeric,
            categorical=self.categorical,
            units=self.units,
            withheld=withheld,
            shared=self._shared_names,
        )

    def fit(self, raws: Iterable[Row]) -> None:
        """Learn the scale of each numeric column from its observed values.

        Raises:
            ValueError: there is no row.
        """
        rows = [raw.values for raw in raws]
        if not rows:
            raise ValueError("got no readable row in the training split; check the cohort's sources")
        scale = percentile_knots if self.scaling == "percentile" else moments
        self._scales = [scale(column[~np.isnan(column)]) for column in np.stack(rows).T]

    def state(self) -> dict[str, Any]:
        """Return the columns, and 101 percentiles or mean and deviation of each numeric one; empty before ``fit``."""
        if self._scales is None:
            return {}
        return {
            "scaling": self.scaling,
            "numeric": list(self.numeric),
            "categorical": {name: list(levels) for name, levels in self.categorical.items()},
            "units": dict(self.units),
            "scales": [list(scale) for scale in self._scales],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the scales, and the columns if none were set.

        Raises:
            ValueError: the state belongs to other columns or another scaling.
        """
        if not state:
            self._scales = None
            return
        if self._columns_unset and "categorical" in state:
            self.numeric, self.units = list(state["numeric"]), dict(state["units"])
            self.categorical = {name: list(levels) for name, levels in state["categorical"].items()}
        for name in ("scaling", "numeric"):
            if state[name] != getattr(self, name):
                raise ValueError(f"got a state with {name} {state[name]}, expected {getattr(self, name)}; set `{name}`")
        self._scales = [list(scale) for scale in state["scales"]]

    def prepare(self, raw: Row) -> Item:
        """Scale to ``values`` [C], 0 where missing, with flags ``observed`` [C], and ``levels`` [K].

        In a column without training values, a value is 0.5 (0 as a standard score) and not observed.

        Raises:
            ValueError: the plugin was not fitted.
        """
        if self._scales is None:
            raise ValueError("got a Tabular without scales; call `fit` on the training split, or `load_state`, first")
        place = percentile if self.scaling == "percentile" else zscore
        values, observed = np.zeros(len(self.numeric), np.float32), np.zeros(len(self.numeric), bool)
        for column in np.flatnonzero(~np.isnan(raw.values)):
            values[column] = place(float(raw.values[column]), self._scales[column])
            observed[column] = bool(self._scales[column])
        return {
            "values": torch.from_numpy(values),
            "observed": torch.from_numpy(observed),
            "levels": torch.from_numpy(raw.levels.copy()),
        }

    def baseline(self) -> BaselineFeatures:
        """Return the values and levels of the columns, for gradient boosting."""
        return BaselineFeatures(name="columns", learn=lambda raws: _columns, trees=True)

    def fixed_features(self) -> FixedFeatures:
        """Build the values and levels of the columns."""
        return ColumnFeatures(numeric=len(self.numeric), levels=[len(levels) for levels in self.categorical.values()])

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Add noise to observed values and hide some values and levels."""
        noise = rng.normal(0, self.noise, size=len(self.numeric)).astype(np.float32)
        visible, visible_levels = (
            rng.random(count) >= self.drop for count in (len(self.numeric), len(self.categorical))
        )
        observed = item["observed"].numpy() & visible
        values = np.where(observed, item["values"].numpy() + noise, np.float32(0))
        if self.scaling == "percentile":
            values = np.clip(values, 0, 1)
        levels = item["levels"].numpy() * visible_levels
        varied = {"values": values, "observed": observed, "levels": levels}
        return {name: torch.from_numpy(array) for name, array in varied.items()}

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw the quantile of each value among those of the training split, with the value in its unit."""
        values = [*study["values"].tolist(), *[math.nan] * len(self.categorical)]
        places = values if self.scaling == "percentile" else [float(ndtr(value)) for value in values]
        draw_row([*self.numeric, *self.categorical], self._quantities(study), places, axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw the most relevant columns with their values."""
        draw_columns([*self.numeric, *self.categorical], self._quantities(study), relevance, axes)

    def view(self, raw: Row) -> Rows:
        """Return every value in its unit, beside the middle 95 % of the training split."""
        return view_row(
            raw,
            numeric=self.numeric,
            categorical=self.categorical,
            units=self.units,
            scales=self._scales,
            scaling=self.scaling,
        )

    def locate(self, raw: Row, item: Item, relevance: Float[Tensor, " T"]) -> OnRows:
        """Return the relevance of every column, for the view."""
        return locate_columns(relevance, len(self.numeric) + len(self.categorical))

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write a CSV file of name, value and unit, with a warning in every line that the value is synthetic."""
        return write_row([*self.numeric, *self.categorical], self._texts(study), self._units(), path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write a synthetic panel as CSV with name, value and unit."""
        return write_phantom(physiology, rng, path.with_suffix(".csv"))

    def default_encoder(self, size: str) -> Encoder:
        """Build a transformer with one token per column."""
        trunk = Transformer.of_size(size)
        levels = [len(levels) for levels in self.categorical.values()]
        centre, spread = (0.5, 12**-0.5) if self.scaling == "percentile" else (0.0, 1.0)
        tokenizer = FeatureTokenizer(
            numeric=len(self.numeric), levels=levels, width=trunk.width, centre=centre, spread=spread
        )
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    def _readable(self, sources: Sequence[Source]) -> list[Pairs]:
        """Read the cells of files, without those that ``read`` will refuse."""
        tables: list[Pairs] = []
        for source in sources:
            if isinstance(source, Path):
                with suppress(UnreadableSource):
                    tables.append(read_cells(source, encoding=self.encoding))
        return tables

    def _take(self, columns: Columns, units: Mapping[str, str], left_out: Mapping[str, str]) -> None:
        """Replace the columns by inferred ones."""
        if not columns.numeric and not columns.categorical:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in [*left_out.items()][:_MAX_NAMED_COLUMNS])
            raise ValueError(
                f"got {len(left_out)} columns of which none can be used ({reasons}), expected at least one; set "
                "`numeric` or `categorical`"
            )
        self.numeric, self.categorical, self._adapted = columns.numeric, columns.categorical, True
        self.units = {name: unit for name, unit in units.items() if name in columns.numeric}
        self._refuse_wrong_settings()

    def _texts(self, study: Item) -> list[str]:
        """Return every value without its unit, empty where missing."""
        unscaled = from_percentile if self.scaling == "percentile" else from_zscore
        scales = self._scales or [[]] * len(self.numeric)
        numbers = [
            f"{unscaled(value, scale):.4g}" if observed else ""
            for value, observed, scale in zip(study["values"].tolist(), study["observed"].tolist(), scales, strict=True)
        ]
        categories = zip(self.categorical.values(), study["levels"].tolist(), strict=True)
        return [*numbers, *(levels[level - 1] if level else "" for levels, level in categories)]

    def _quantities(self, study: Item) -> list[str]:
        """Return every value with its unit, empty where missing."""
        pairs = zip(self._texts(study), self._units(), strict=True)
        return [f"{value} {unit}".strip() if value else "" for value, unit in pairs]

    def _units(self) -> list[str]:
        return [*(self.units.get(name, "") for name in self.numeric), *[""] * len(self.categorical)]

    def _refuse_wrong_settings(self) -> None:
        columns = [*self.numeric, *self.categorical]
        if not columns or len(set(columns)) < len(columns):
            raise ValueError(
                f"got columns {columns}; set `numeric` and `categorical` to distinct columns, at least one"
            )
        for name, allowed in (("scaling", get_args(Scaling)), ("text_values", get_args(TextValues))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"got {name} {getattr(self, name)!r}, expected one of {allowed}; set `{name}`")
        for setting in ("units", "plausible"):
            if unknown := set(getattr(self, setting)) - set(self.numeric):
                raise ValueError(f"got {setting} for {sorted(unknown)}, which are not in `numeric`; set `{setting}`")
        for name, limits in self.plausible.items():
            if len(limits) != 2 or limits[0] > limits[1]:
                raise ValueError(f"got plausible {limits} for {name!r}, expected [lowest, highest]")

    def _decoded(self, cells: Mapping[str, str]) -> Row:
        values = np.full(len(self.numeric), np.nan)
        levels = np.zeros(len(self.categorical), np.int64)
        counts = {"text_values": 0, "unknown_levels": 0, "implausible": 0}
        for column, name in enumerate(self.numeric):
            values[column] = self._number(name, cells.get(name, ""), counts)
        for column, (name, choices) in enumerate(self.categorical.items()):
            text = cells.get(name, "")
            if text in choices:
                levels[column] = choices.index(text) + 1
            elif text.casefold() not in self._absent:
                counts["unknown_levels"] += 1
        observed = (~np.isnan(values)).sum() + (levels > 0).sum()
        facts: dict[str, float | str] = {"observed": float(observed / (len(values) + len(levels)))}
        return Row(values, levels, {**facts, **{name: float(count) for name, count in counts.items()}})

    def _number(self, name: str, text: str, counts: dict[str, int]) -> float:
        """Return the number in a cell, NaN where missing, and count text and implausible numbers."""
        if text == "" or text.casefold() in self._absent:
            return float("nan")
        value = plain_number(text)
        if value is None:
            if self.text_values == "error":
                raise UnreadableSource(
                    f"column {name!r} holds text, expected a number with a decimal point; set `text_values` to "
                    "'missing' or 'approximate', or add the text to `missing`"
                )
            counts["text_values"] += 1
            value = approximate_number(text) if self.text_values == "approximate" else None
        if value is None:
            return float("nan")
        if abs(value) > _MAX_MAGNITUDE:
            raise UnreadableSource(
                f"column {name!r} holds a number beyond {_MAX_MAGNITUDE:g}, which is too large in any unit"
            )
        low, high = self.plausible.get(name, (-np.inf, np.inf))
        if not low <= value <= high:
            counts["implausible"] += 1
            return float("nan")
        return value


def _columns(raws: Sequence[Row]) -> Float[np.ndarray, "N F"]:
    levels = np.stack([raw.levels for raw in raws]).astype(np.float64)
    return np.concatenate([np.stack([raw.values for raw in raws]), np.where(levels > 0, levels, np.nan)], axis=1)
