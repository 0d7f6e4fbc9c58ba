"""Draw courses: the view of the service page, a chart with relevance, and imputed events."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from polyclinic.modality import HEAT, Entry, Item, OnRows, Rows, relative_relevance
from polyclinic_timeline.course import Course
from polyclinic_timeline.vocabulary import FIRST_CODE, Vocabulary

_WARNING = "synthetic: predicted by a model, never measured"
_LONGEST_TEXT, _MAX_LINES, _MAX_SCORE = 60, 12, 4.5
_RANGE = 1.96
_GREY, _BLUE = "#DDDDDD", "#0072B2"
_MIN_AREA, _AREA = 12.0, 160.0


def view_course(course: Course, vocabulary: Vocabulary | None) -> Rows:
    """Return the view of the used events, the latest of each code first, with reference ranges.

    Args:
        course: events that the model reads.
        vocabulary: learned scales; None before ``fit``.
    """
    entries = []
    for place in display_order(course):
        low, high, stated = _range(course, place, vocabulary)
        value, text = float(course.values[place]), course.texts[place]
        entries.append(
            Entry(
                name=f"{course.codes[place]}, {_when(float(course.hours[place]))}{'' if stated else ' *'}",
                value=None if np.isnan(value) else value,
                unit=course.units[place],
                low=low,
                high=high,
                level=text[:_LONGEST_TEXT] if text and np.isnan(value) else None,
            )
        )
    anchor = "the time of the study" if course.anchored else "the last event"
    ranges = (
        "* range: the middle 95 % of the training split, not that of a laboratory"
        if vocabulary
        else ("* no reference range: the scales are not fitted")
    )
    return Rows(entries=tuple(entries), caption=f"times count from {anchor}; {ranges}")


def display_order(course: Course) -> list[int]:
    """Return the places of the events by code, in order of its first event, the latest first."""
    first: dict[str, int] = {}
    for place, code in enumerate(course.codes):
        first.setdefault(code, place)
    return sorted(range(len(course)), key=lambda place: (first[course.codes[place]], -place))


def locate_events(course: Course, relevance: Float[Tensor, " T"]) -> OnRows:
    """Return the relevance of every event, for the view.

    Raises:
        ValueError: the number of tokens differs from that of events, or the relevance cannot be drawn.
    """
    refuse_other_number(len(course), relevance)
    return OnRows(strength=relative_relevance(relevance)[display_order(course)])


def refuse_other_number(events: int, relevance: Float[Tensor, " T"]) -> None:
    """Check that there is a relevance for each event.

    Raises:
        ValueError: the numbers differ.
    """
    if len(relevance) != events:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected one for each of {events} events; pass a row of "
            "`token_relevance`, for an encoder with a token per event"
        )


def draw_chart(
    study: Item, vocabulary: Vocabulary | None, axes: Axes, relevance: Float[Tensor, " T"] | None = None
) -> None:
    """Draw the values of each code over time, in deviations from the training median, and the band of 95 % of them.

    Args:
        study: row of collated inputs; hidden values are NaN.
        vocabulary: learned codes; None before ``fit``.
        axes: Matplotlib axes.
        relevance: relevance of each token, drawn as the area of its point.
    """
    real = ~study["padding"].numpy() if "padding" in study else np.ones(len(study["code"]), dtype=bool)
    hours, codes = study["hours"].numpy()[real], study["code"].numpy()[real]
    values = np.where(study["observed"].numpy(), study["values"].numpy(), np.nan)[real]
    axes.axhspan(-_RANGE, _RANGE, color=_GREY, linewidth=0)
    shown = np.clip(values, -_MAX_SCORE, _MAX_SCORE)
    numeric = codes[~np.isnan(shown)]
    common = sorted(set(numeric.tolist()), key=lambda code: (-int((numeric == code).sum()), code))[:_MAX_LINES]
    axes.set_prop_cycle(color=colormaps["tab20"](range(_MAX_LINES)))
    for code in common:
        known = (codes == code) & ~np.isnan(shown)
        axes.plot(hours[known], shown[known], linewidth=0.8, marker=".", markersize=3, label=_name(code, vocabulary))
    if relevance is not None:
        strength = relative_relevance(relevance)[real]
        areas = np.where(strength > 0, _MIN_AREA + _AREA * strength, 0.0)
        # An event without a number is drawn at the lower edge.
        axes.scatter(hours, np.where(np.isnan(shown), -_MAX_SCORE, shown), s=areas, color=HEAT, alpha=0.7, zorder=3)
    axes.set(ylim=(-_MAX_SCORE - 0.5, _MAX_SCORE + 0.5), xlabel="hours", ylabel="deviations from the median")
    margin = max(1.0, float(np.ptp(hours)) * 0.05) if len(hours) else 1.0
    axes.set_xlim(float(hours.min(initial=0)) - margin, float(hours.max(initial=0)) + margin)
    for text in axes.legend(fontsize=5, loc="upper left", ncols=2).get_texts() if common else ():
        text.set_parse_math(False)


def write_course(study: Item, vocabulary: Vocabulary, path: Path) -> Path:
    """Write the events as CSV in the units of the codes, with a warning in every line that values are synthetic."""
    target = path.with_name(f"{path.name}.csv")
    with target.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["hours", "code", "value", "unit", "source"])
        for place in range(len(study["code"])):
            if not ("padding" in study and bool(study["padding"][place])):
                table.writerow([*_event(study, place, vocabulary), _WARNING])
    return target


def _event(study: Item, place: int, vocabulary: Vocabulary) -> Sequence[str]:
    code = _name(int(study["code"][place]), vocabulary)
    scale, hours = vocabulary.scales.get(code), f"{float(study['hours'][place]):.2f}"
    if scale is None or not bool(study["observed"][place]):
        return hours, code, "", ""
    return hours, code, f"{scale.unscaled(float(study['values'][place])):.4g}", scale.unit


def _name(number: int, vocabulary: Vocabulary | None) -> str:
    place = number - FIRST_CODE
    known = vocabulary is not None and 0 <= place < len(vocabulary.codes)
    return vocabulary.codes[place] if known and vocabulary is not None else "unknown code"


def _range(course: Course, place: int, vocabulary: Vocabulary | None) -> tuple[float | None, float | None, bool]:
    """Return the ends of the reference range, and whether the source states them."""
    low, high = float(course.low[place]), float(course.high[place])
    if not (np.isnan(low) and np.isnan(high)):
        return None if np.isnan(low) else low, None if np.isnan(high) else high, True
    code, value, unit = course.codes[place], float(course.values[place]), course.units[place]
    if vocabulary is None or np.isnan(vocabulary.score(code, value, unit)):
        return None, None, False
    scale = vocabulary.scales[code]
    return scale.low, scale.high, False


def _when(hours: float) -> str:
    return f"{abs(hours):.1f} h {'after' if hours > 0 else 'before'}"
