"""Draw courses: the view of the service page, a chart with relevance, and imputed events."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from polyclinic.modality import HEAT, Courses, Item, OnCourses, Series, relative_relevance
from polyclinic_timeline.course import Course, folded_unit
from polyclinic_timeline.vocabulary import FIRST_CODE, Vocabulary

_WARNING = "synthetic: predicted by a model, never measured"
_LONGEST_TEXT, _MAX_LINES, _MAX_SCORE = 60, 12, 4.5
_RANGE = 1.96
_LEARNED_RANGE = "* range: the middle 95 % of the training split, not that of a laboratory"
_GREY = "#DDDDDD"
_MIN_AREA, _AREA = 12.0, 160.0


def view_course(course: Course, vocabulary: Vocabulary | None) -> Courses:
    """Return a chart of the used events: a series for each code, in order of its first event, and reference ranges.

    Args:
        course: events that the model reads.
        vocabulary: learned scales; None before ``fit``.
    """
    series, learned = [], False
    for places in series_of(course):
        ranges = [_range(course, place, vocabulary) for place in places]
        of_training = any(not stated and not np.isnan(high) for _, high, stated in ranges)
        learned |= of_training
        first, values = places[0], course.values[places]
        series.append(
            Series(
                name=f"{course.codes[first]}{' *' if of_training else ''}",
                unit=course.units[first],
                hours=course.hours[places],
                values=values,
                low=np.array([low for low, _, _ in ranges]),
                high=np.array([high for _, high, _ in ranges]),
                levels=tuple(
                    course.texts[place][:_LONGEST_TEXT] or None if np.isnan(value) else None
                    for place, value in zip(places, values, strict=True)
                ),
            )
        )
    anchor = "the time of the study" if course.anchored else "the last event"
    origin = f"; {_LEARNED_RANGE}" if learned else ""
    return Courses(series=tuple(series), caption=f"times count from {anchor}{origin}")


def series_of(course: Course) -> list[list[int]]:
    """Return the places of the events of each series, in order of its first event.

    A series is a code in one unit; a text without a number is in the first series of its code.
    """
    found: dict[tuple[str, str], list[int]] = {}
    first: dict[str, tuple[str, str]] = {}
    for place, (code, value, unit) in enumerate(zip(course.codes, course.values, course.units, strict=True)):
        key = first.setdefault(code, (code, folded_unit(unit)))
        found.setdefault(key if np.isnan(value) else (code, folded_unit(unit)), []).append(place)
    return list(found.values())


def locate_events(course: Course, relevance: Float[Tensor, " T"]) -> OnCourses:
    """Return the relevance of every event, for the view.

    Raises:
        ValueError: the number of tokens differs from that of events, or the relevance cannot be drawn.
    """
    refuse_other_number(len(course), relevance)
    strength = relative_relevance(relevance)
    return OnCourses(strength=tuple(strength[places] for places in series_of(course)))


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


def _range(course: Course, place: int, vocabulary: Vocabulary | None) -> tuple[float, float, bool]:
    """Return the ends of the reference range, NaN without one, and whether the source states them."""
    low, high = float(course.low[place]), float(course.high[place])
    if not (np.isnan(low) and np.isnan(high)):
        return low, high, True
    code, value, unit = course.codes[place], float(course.values[place]), course.units[place]
    if vocabulary is None or np.isnan(vocabulary.score(code, value, unit)):
        return np.nan, np.nan, False
    scale = vocabulary.scales[code]
    return scale.low, scale.high, False
