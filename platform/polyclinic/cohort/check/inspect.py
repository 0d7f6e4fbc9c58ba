"""Inspect every source of a cohort: unreadable files, issues, distributions and duplicates."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from polyclinic.cohort.check.workers import Content, Inspection, Readers, Task
from polyclinic.cohort.cohort import Cohort, Study, file_of
from polyclinic.modality import Issue, Modality, Severity
from polyclinic.system.progress import track

_GRADES: dict[tuple[bool, str], tuple[Severity, str, str]] = {
    (False, "splits"): (
        "error",
        "same-measurement-across-splits",
        "the same measurement under different patients in different splits leaks from training to testing",
    ),
    (False, "patients"): (
        "warning",
        "same-measurement-of-two-patients",
        "the same measurement under different patients: at least one of them is wrong",
    ),
    (False, "patient"): (
        "note",
        "same-measurement-of-one-patient",
        "the same measurement in several studies of one patient",
    ),
    (True, "splits"): (
        "warning",
        "same-text-across-splits",
        "the same text, word for word, under different patients in different splits",
    ),
    (True, "patients"): ("note", "same-text-of-two-patients", "the same text, word for word, under different patients"),
    (True, "patient"): ("note", "same-text-of-one-patient", "the same text in several studies of one patient"),
}


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Studies with the same content.

    Attributes:
        code: code of the issue.
        severity: severity of the issue; lower for texts, which may be equal by chance.
        studies: study ids, in the order of the table.
        splits: splits of the studies.
        one_file: whether the table names the same file for all of them.
    """

    code: str
    severity: Severity
    studies: tuple[str, ...]
    splits: tuple[str, ...]
    one_file: bool


def find_duplicates(name: str, contents: Iterable[tuple[Study, Content]]) -> list[tuple[Duplicate, Issue]]:
    """Find groups of studies with the same content in one modality, each with its issue."""
    groups: dict[bytes, list[tuple[Study, Content]]] = {}
    for study, content in contents:
        groups.setdefault(content.digest, []).append((study, content))
    return [_duplicate(name, group) for group in groups.values() if len(group) > 1]


def _duplicate(name: str, group: list[tuple[Study, Content]]) -> tuple[Duplicate, Issue]:
    studies = [study for study, _ in group]
    splits = tuple(sorted({study.split for study in studies}))
    several = len({study.patient_id for study in studies}) > 1
    relation = "patient" if not several else "patients" if len(splits) == 1 else "splits"
    severity, code, message = _GRADES[group[0][1].text, relation]
    duplicate = Duplicate(
        code=code,
        severity=severity,
        studies=tuple(study.study_id for study in studies),
        splits=splits,
        one_file=len({file_of(study.sources[name]) for study in studies} - {None}) == 1,
    )
    return duplicate, Issue(severity=severity, code=code, message=message)


SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Severities, worst first."""

_MAX_NAMED_STUDIES = 20
_MAX_DISTINCT_VALUES = 30
_OTHER_VALUES = "others"


@dataclass(kw_only=True)
class Distribution:
    """Distribution of a numeric fact over the readable sources that have it."""

    min: float
    mean: float
    max: float


@dataclass(kw_only=True)
class Unreadable:
    """Sources that cannot be decoded for the same reason: their encoding, the reason, and all study ids."""

    stored_as: str
    reason: str
    studies: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Found:
    """One kind of issue: its worst severity and message, the number of studies, and the first 20 of them."""

    code: str
    severity: Severity
    message: str
    count: int
    studies: list[str]


@dataclass(kw_only=True)
class ModalityCheck:
    """Check of one modality of a cohort.

    Attributes:
        present: number of studies that have the modality.
        readable: number of studies whose source can be decoded.
        numbers: distribution of each numeric fact.
        texts: number of sources per value of each text fact; from the 31st value on they count as ``others``.
        issues: issues of readable sources, the worst and most frequent first.
        unreadable: unreadable sources, grouped by encoding and reason.
        duplicates: groups of studies with the same content.
    """

    present: int
    readable: int
    numbers: dict[str, Distribution]
    texts: dict[str, dict[str, int]]
    issues: list[Found]
    unreadable: list[Unreadable]
    duplicates: list[Duplicate]

    @property
    def severity(self) -> Severity | None:
        """Worst severity of the issues, where an unreadable source is an error; None where there are none."""
        found = {issue.severity for issue in self.issues} | ({"error"} if self.unreadable else set())
        return next((severity for severity in SEVERITIES if severity in found), None)


class CheckSummary:
    """Accumulator of the inspections of one modality, in the order of the table.

    Args:
        name: name of the modality.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._readable = 0
        self._numbers: dict[str, tuple[int, float, float, float]] = {}
        self._texts: dict[str, Counter[str]] = {}
        self._issues: dict[str, tuple[list[str], list[Issue]]] = {}
        self._unreadable: dict[tuple[str, str], list[str]] = {}
        self._contents: list[tuple[Study, Content]] = []

    def add(self, study: Study, inspection: Inspection) -> None:
        """Add the inspection of a study's source."""
        if inspection.unreadable:
            self._unreadable.setdefault((inspection.stored_as, inspection.unreadable), []).append(study.study_id)
            return
        self._readable += 1
        for fact, value in inspection.facts.items():
            if isinstance(value, str):
                self._add_text(fact, value)
            elif math.isfinite(value):
                self._add_number(fact, value)
        for issue in inspection.issues:
            self._add_issue(study.study_id, issue)
        if inspection.content is not None:
            self._contents.append((study, inspection.content))

    def result(self) -> ModalityCheck:
        """Return the check of all inspections, including duplicates."""
        duplicates = []
        for duplicate, issue in find_duplicates(self._name, self._contents):
            duplicates.append(duplicate)
            for study in duplicate.studies:
                self._add_issue(study, issue)
        unreadable = [
            Unreadable(stored_as=stored_as, reason=reason, studies=studies)
            for (stored_as, reason), studies in sorted(self._unreadable.items())
        ]
        found = [self._found(code, *entry) for code, entry in self._issues.items()]
        return ModalityCheck(
            present=self._readable + sum(len(group.studies) for group in unreadable),
            readable=self._readable,
            numbers={
                fact: Distribution(min=low, mean=total / count, max=high)
                for fact, (count, total, low, high) in self._numbers.items()
            },
            texts={fact: dict(sorted(values.items())) for fact, values in sorted(self._texts.items())},
            issues=sorted(found, key=lambda issue: (SEVERITIES.index(issue.severity), -issue.count, issue.code)),
            unreadable=unreadable,
            duplicates=sorted(duplicates, key=lambda duplicate: SEVERITIES.index(duplicate.severity)),
        )

    def _add_text(self, fact: str, value: str) -> None:
        values = self._texts.setdefault(fact, Counter())
        values[value if value in values or len(values) < _MAX_DISTINCT_VALUES else _OTHER_VALUES] += 1

    def _add_number(self, fact: str, value: float) -> None:
        count, total, low, high = self._numbers.get(fact, (0, 0.0, math.inf, -math.inf))
        self._numbers[fact] = count + 1, total + value, min(low, value), max(high, value)

    def _add_issue(self, study: str, issue: Issue) -> None:
        """Add an issue of a study, which counts once for each kind of issue."""
        studies, issues = self._issues.setdefault(issue.code, ([], []))
        if not studies or studies[-1] != study:
            studies.append(study)
        if not any(known.severity == issue.severity for known in issues):
            issues.append(issue)

    def _found(self, code: str, studies: list[str], issues: list[Issue]) -> Found:
        """Summarize one kind of issue; it is a note if its share of studies is tolerated."""
        worst = min(issues, key=lambda issue: SEVERITIES.index(issue.severity))
        is_tolerated = len(studies) <= worst.tolerated * self._readable
        return Found(
            code=code,
            severity="note" if is_tolerated else worst.severity,
            message=worst.message,
            count=len(studies),
            studies=studies[:_MAX_NAMED_STUDIES],
        )


def check_cohort(
    cohort: Cohort, modalities: Mapping[str, Modality], *, workers: int = 2, seconds: float = 60.0
) -> dict[str, ModalityCheck]:
    """Inspect every source in worker processes, and find duplicates by content.

    Each file is decoded once; its digest and header are then read from the page cache. A plugin that must be fitted
    before it can describe a source is fitted on a sample of training sources, which are decoded twice. The result does
    not depend on ``workers``.

    Args:
        cohort: cohort to check.
        modalities: plugins by name, which are copied to the worker processes.
        workers: number of processes; 0 reads in this process, which a crashing decoder takes down.
        seconds: time limit for reading a source, after which it counts as unreadable.

    Raises:
        ValueError: ``workers`` or ``seconds`` out of range, or the reading processes cannot start.
    """
    entries = [(name, study) for name in modalities for study in cohort.studies if name in study.sources]
    summaries = {name: CheckSummary(name) for name in modalities}
    with Readers(modalities, workers=workers, seconds=seconds) as readers:
        _fit(cohort, modalities, readers)
        inspections = readers.each([Task(name, study.sources[name]) for name, study in entries])
        # In the order of the entries, not of completion, so that sums are the same to the last bit.
        for (name, study), inspection in zip(
            entries, track(inspections, description="reading sources", total=len(entries)), strict=True
        ):
            summaries[name].add(study, inspection)
    return {name: summary.result() for name, summary in summaries.items()}


def _fit(cohort: Cohort, modalities: Mapping[str, Modality], readers: Readers) -> None:
    """Fit the plugins that need it to describe a source, on a sample spread evenly over the training split."""
    for name, modality in modalities.items():
        wanted = modality.sample()
        train = [study for study in cohort.split("train") if name in study.sources]
        if not wanted or not train:
            continue
        chosen = train[:: math.ceil(len(train) / wanted)]
        raws = readers.each([Task(name, study.sources[name], decode=True) for study in chosen])
        if readable := [raw for raw in raws if raw is not None]:
            modality.fit(readable)
            readers.send_state(name)
