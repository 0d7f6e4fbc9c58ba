"""Issues of a course: repeated events, times out of order or after the study, mixed units, implausible values."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from polyclinic.modality import Issue, identifying_fields
from polyclinic_timeline.course import Course
from polyclinic_timeline.vocabulary import Vocabulary


def course_issues(
    course: Course, vocabulary: Vocabulary | None, plausible: Mapping[str, Sequence[float]]
) -> Iterator[Issue]:
    """Yield the issues of a course.

    Args:
        course: decoded events, all of them.
        vocabulary: learned units; None before ``fit``.
        plausible: lowest and highest plausible value by code.
    """
    texts = "\n".join(f"{code}: {text}" for code, text in zip(course.codes, course.texts, strict=True) if text)
    if kinds := identifying_fields(texts):
        yield Issue(severity="warning", code="identifiers", message=f"the events seem to hold {', '.join(kinds)}")
    if count := int(course.repeated().sum()):
        yield Issue(severity="note", code="repeated-events", message=f"events that repeat an earlier one: {count}")
    if count := int(course.facts.get("out_of_order", 0)):
        yield Issue(severity="note", code="out-of-order", message=f"times that are before the previous one: {count}")
    if count := int(course.facts.get("without_time", 0)):
        yield Issue(severity="note", code="without-time", message=f"events without a time, which are not used: {count}")
    if course.anchored and (count := int((course.hours > 0).sum())):
        yield Issue(severity="note", code="after-the-study", message=f"events after the time of the study: {count}")
    if mixed := len(course.mixed_units()):
        yield Issue(severity="warning", code="mixed-units", message=f"codes with values in several units: {mixed}")
    if count := int(implausible(course, plausible).sum()):
        yield Issue(severity="warning", code="implausible", message=f"values outside their plausible range: {count}")
    if vocabulary is not None:
        yield from _unused(course, vocabulary)


def implausible(course: Course, plausible: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Return which values [N] are outside the plausible range of their code."""
    ends = [plausible.get(code, (-np.inf, np.inf)) for code in course.codes]
    limits = np.array(ends, dtype=np.float64).reshape(len(course), 2)
    return (course.values < limits[:, 0]) | (course.values > limits[:, 1])


def _unused(course: Course, vocabulary: Vocabulary) -> Iterator[Issue]:
    events = list(zip(course.codes, course.values.tolist(), course.units, strict=True))
    if count := sum(vocabulary.is_in_other_unit(*event) for event in events):
        message = f"values in another unit than those of training, which are not used: {count}"
        yield Issue(severity="warning", code="other-unit", message=message)
