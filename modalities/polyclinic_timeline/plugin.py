"""Timeline modality: events over time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from polyclinic.modality import (
    BaselineFeatures,
    Cleaned,
    Courses,
    Identity,
    Issue,
    Item,
    Modality,
    OnCourses,
    Physiology,
    Recognised,
    Source,
)
from polyclinic.nn import Encoder, FixedFeatures, Transformer, TransformerEncoder
from polyclinic_timeline.course import Course
from polyclinic_timeline.deidentify import course_names, write_clean_course
from polyclinic_timeline.drawing import draw_chart, locate_events, refuse_other_number, view_course, write_course
from polyclinic_timeline.features import LastValues, summaries
from polyclinic_timeline.issues import course_issues, implausible
from polyclinic_timeline.phantom import write_phantom
from polyclinic_timeline.reading import read_course
from polyclinic_timeline.recognise import recognised
from polyclinic_timeline.tokens import EventTokenizer
from polyclinic_timeline.vocabulary import FIRST_CODE, UNKNOWN, Vocabulary, learn_vocabulary, text_bucket

_MAX_FEATURE_CODES = 64
_MAX_HOURS = 87_660.0


class Timeline(Modality):
    """Events over time, such as the laboratory values and vital signs of a stay, one token per event.

    A source is a window of a MEDS dataset, or a CSV or Parquet file with columns ``time``, ``code`` and ``value``, and
    at most ``unit``, ``text``, ``reference_low``, ``reference_high`` and ``anchor``, which is the time of the study in
    every row. Times count from the anchor, or from the last event without one. The cohort must hold only events
    that were known at the time of prediction.

    One unit per code is learned from the training split. A value in another unit, or without one where training
    values have one, is not used and is counted in the notes: a conversion would be a guess.

    Args:
        max_events: most events of a study; of more, the latest are used.
        max_codes: most codes that ``fit`` learns, and rows of the default encoder's table.
        min_count: training studies that a code must occur in to be known.
        plausible: lowest and highest plausible value of a code; values outside count as missing.
        noise: standard deviation of the noise of augmentation, in units of the scaled values.
        drop: share of the events that augmentation leaves out.

    Raises:
        ValueError: a setting is out of range.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".parquet")
    title: ClassVar[str] = "Events over time"
    in_phantom: ClassVar[bool] = False

    def __init__(
        self,
        *,
        max_events: int = 256,
        max_codes: int = 512,
        min_count: int = 2,
        plausible: Mapping[str, Sequence[float]] | None = None,
        noise: float = 0.05,
        drop: float = 0.1,
    ) -> None:
        for name, value in (("max_events", max_events), ("max_codes", max_codes), ("min_count", min_count)):
            if value < 1:
                raise ValueError(f"got {name} {value}, expected 1 or more; set `{name}`")
        if not (0 <= drop < 1 and noise >= 0):
            raise ValueError(
                f"got drop {drop} and noise {noise}, expected drop from 0 to below 1, noise from 0; set them"
            )
        for code, limits in (plausible or {}).items():
            if len(limits) != 2 or not limits[0] <= limits[1]:
                raise ValueError(
                    f"got plausible {list(limits)} for {code!r}, expected [lowest, highest]; set `plausible`"
                )
        self.max_events, self.max_codes, self.min_count = max_events, max_codes, min_count
        self.plausible = {code: list(limits) for code, limits in (plausible or {}).items()}
        self.noise, self.drop = noise, drop
        self._vocabulary: Vocabulary | None = None

    def read(self, source: Source) -> Course:
        """Decode every event with a time.

        Raises:
            UnreadableSource: see ``polyclinic_timeline.reading.read_course``.
        """
        return read_course(source)

    def recognise(self, path: Path) -> Recognised:
        """Accept a CSV file whose header names time, code and value; it states the time of its last event."""
        return recognised(path)

    def describe(self, raw: Course) -> Mapping[str, float | str]:
        """Return the number of events and codes, the hours between first and last, and the share with a number."""
        return {
            "events": float(len(raw)),
            "codes": float(len(set(raw.codes))),
            "hours": float(raw.hours[-1] - raw.hours[0]),
            "with_number": float(np.mean(~np.isnan(raw.values))),
            **raw.facts,
        }

    def notes(self, raw: Course) -> tuple[str, ...]:
        """Return what of the events the model does not use."""
        vocabulary, used = self._vocabulary, self._used(raw)
        found = []
        if len(used) < len(raw):
            found.append(f"of {len(raw)} events, the latest {len(used)} are used; see `max_events`")
        if count := int(raw.facts.get("without_time", 0)):
            found.append(f"not used, as they have no time: {count} events")
        if vocabulary is not None:
            events = list(zip(used.codes, used.values.tolist(), used.units, strict=True))
            if count := sum(vocabulary.number(code) == UNKNOWN for code in used.codes):
                found.append(f"events with a code that training did not have: {count} of {len(used)}")
            if count := sum(vocabulary.is_in_other_unit(*event) for event in events):
                found.append(f"not used, as their unit is not that of training: {count} values")
        if count := int(implausible(used, self.plausible).sum()):
            found.append(f"not used, as they are outside their plausible range: {count} values")
        return tuple(found)

    def issues(self, source: Source, raw: Course) -> Iterable[Issue]:
        """Report repeated events, times out of order or after the study, mixed units, and implausible values."""
        return course_issues(raw, self._vocabulary, self.plausible)

    def names(self, source: Source) -> Iterable[str]:
        """Return names of persons in events that are labelled as such."""
        return course_names(read_course(source))

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write codes, numbers, units and short texts as CSV, with shifted times; ids and free text are left out.

        What remains: codes, the intervals between events, the time of day, and short texts such as ``positive``.
        """
        return write_clean_course(read_course(source), out, identity)

    def fit(self, raws: Iterable[Course]) -> None:
        """Learn codes, units and scales.

        Raises:
            ValueError: there is no course, or no code occurs often enough.
        """
        courses = (self._plausible(raw) for raw in raws)
        vocabulary = learn_vocabulary(courses, min_count=self.min_count, max_codes=self.max_codes)
        if not vocabulary.codes:
            raise ValueError(
                f"got no code that occurs in {self.min_count} readable training studies; check the cohort's sources, "
                "or set `min_count`"
            )
        self._vocabulary = vocabulary

    def state(self) -> dict[str, Any]:
        """Return codes, units and percentiles; empty before ``fit``. Texts of events are never stored."""
        return {} if self._vocabulary is None else self._vocabulary.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore codes, units and scales.

        Raises:
            ValueError: the state has more codes than the table of the default encoder.
        """
        if state and len(state["codes"]) > self.max_codes:
            raise ValueError(
                f"got a state with {len(state['codes'])} codes, expected at most {self.max_codes}; set `max_codes` as "
                "it was in training"
            )
        self._vocabulary = Vocabulary.restored(state) if state else None

    def prepare(self, raw: Course) -> Item:
        """Return ``code``, ``values`` (scaled, 0 where missing), ``observed``, ``text`` and ``hours``, each [T].

        Hours are cut off at ten years.

        Raises:
            ValueError: the plugin was not fitted.
        """
        vocabulary, used = self._fitted(), self._plausible(self._used(raw))
        events = zip(used.codes, used.values.tolist(), used.units, strict=True)
        scores = np.array([vocabulary.score(*event) for event in events], dtype=np.float32)
        return {
            "code": torch.tensor([vocabulary.number(code) for code in used.codes]),
            "values": torch.from_numpy(np.nan_to_num(scores)),
            "observed": torch.from_numpy(~np.isnan(scores)),
            "text": torch.tensor([text_bucket(text) for text in used.texts]),
            "hours": torch.from_numpy(np.clip(used.hours, -_MAX_HOURS, _MAX_HOURS).astype(np.float32)),
        }

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Leave out some events, except at least one, and add noise to values."""
        size = len(item["code"])
        draws = rng.random(size)
        noise = torch.from_numpy(rng.normal(0, self.noise, size=size).astype(np.float32))
        kept = torch.from_numpy((draws >= self.drop) | (draws == draws.max()))
        values = torch.where(item["observed"], item["values"] + noise, 0.0)
        return {name: tensor[kept] for name, tensor in {**item, "values": values}.items()}

    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Pad every tensor with zeros to [B, T], and mark padding."""
        batch = {name: pad_sequence([item[name] for item in items], batch_first=True) for name in items[0]}
        lengths = torch.tensor([len(item["code"]) for item in items])
        return {**batch, "padding": torch.arange(batch["code"].shape[1])[None] >= lengths[:, None]}

    def baseline(self) -> BaselineFeatures:
        """Return count, last, mean, lowest and highest value and slope of each code, for gradient boosting."""
        vocabulary = self._fitted()
        return BaselineFeatures(name="summaries by code", learn=lambda raws: summaries(vocabulary), trees=True)

    def fixed_features(self) -> FixedFeatures:
        """Build last and mean values of the most common codes."""
        return LastValues(codes=min(self.max_codes, _MAX_FEATURE_CODES))

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw a chart of the values over time."""
        draw_chart(study, self._vocabulary, axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw a chart of the values over time, with the relevance of each event as the area of its point."""
        refuse_other_number(len(study["code"]), relevance)
        draw_chart(study, self._vocabulary, axes, relevance)

    def view(self, raw: Course) -> Courses:
        """Return a chart of the used events, with a series and reference ranges for each code."""
        return view_course(self._used(raw), self._vocabulary)

    def locate(self, raw: Course, item: Item, relevance: Float[Tensor, " T"]) -> OnCourses:
        """Return the relevance of every event, for the view."""
        return locate_events(self._used(raw), relevance)

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write a CSV file of hours, code, value and unit, with a warning in every line that values are synthetic."""
        return write_course(study, self._fitted(), path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write the synthetic course of a stay as CSV."""
        return write_phantom(physiology, rng, path.with_suffix(".csv"))

    def default_encoder(self, size: str) -> Encoder:
        """Build a transformer with one token per event."""
        trunk = Transformer.of_size(size)
        tokenizer = EventTokenizer(rows=self.max_codes + FIRST_CODE, width=trunk.width)
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    def _used(self, raw: Course) -> Course:
        """Return the latest ``max_events`` events."""
        if len(raw) <= self.max_events:
            return raw
        latest = slice(len(raw) - self.max_events, None)
        names = ("hours", "codes", "values", "texts", "units", "low", "high")
        return replace(raw, **{name: getattr(raw, name)[latest] for name in names})

    def _plausible(self, raw: Course) -> Course:
        """Return a course without implausible values."""
        return replace(raw, values=np.where(implausible(raw, self.plausible), np.nan, raw.values))

    def _fitted(self) -> Vocabulary:
        if self._vocabulary is None:
            raise ValueError("got a Timeline without codes; call `fit` on the training split, or `load_state`, first")
        return self._vocabulary
