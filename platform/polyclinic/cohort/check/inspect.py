"""Inspect every source of a cohort: unreadable files, issues, distributions and duplicates."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rich.progress import track

from polyclinic.cohort.check.workers import Content, Inspection, Readers, Task
from polyclinic.cohort.cohort import Cohort, Study, file_of
from polyclinic.modality import Inspectable, Issue, Modality, Severity

_GRADES: dict[tuple[bool, str], tuple[Severity, str, str]] = {
    (False, "splits"): (
        "error",
        "same-measurement-across-splits",
        "the same measurement under different patients in different splits: it is trained on and tested on",
    ),
    (False, "patients"): (
        "warning",
        "same-measurement-of-two-patients",
        "the same measurement under different patients: one of them is not its patient",
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
    """Studies with one content.

    Attributes:
        code: of the issue that it is.
        severity: how bad; a measurement is never the same by chance, words may be.
        studies: ids, in the order of the table.
        splits: those that they are in.
        one_file: whether the table names one and the same file for all of them.
    """

    code: str
    severity: Severity
    studies: tuple[str, ...]
    splits: tuple[str, ...]
    one_file: bool


def find_duplicates(name: str, contents: Iterable[tuple[Study, Content]]) -> list[tuple[Duplicate, Issue]]:
    """Groups of studies whose sources of one modality hold the same, each with the issue of its studies."""
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
"""The worst first."""

_NAMED = 20
_MOST_TEXTS = 30
_OTHERS = "others"


@dataclass(kw_only=True)
class Distribution:
    """A numeric fact over the readable sources that have it."""

    min: float
    mean: float
    max: float


@dataclass(kw_only=True)
class Unreadable:
    """Sources that do not decode for one reason: how they are stored, the reason, and every study id."""

    stored_as: str
    reason: str
    studies: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Found:
    """One kind of issue: its worst severity, what was said of the first study, how many studies, the first 20."""

    code: str
    severity: Severity
    message: str
    count: int
    studies: list[str]


@dataclass(kw_only=True)
class ModalityCheck:
    """What reading one modality of a cohort showed.

    Attributes:
        present: studies that have it.
        readable: those whose source decodes.
        numbers: each numeric fact.
        texts: how often each value of each text fact occurs; rare values of a fact with many are ``others``.
        issues: of readable sources, the worst and most frequent first.
        unreadable: by how they are stored and by reason.
        duplicates: groups of studies with one content.
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
        """The worst that was found; a source that does not decode is an error."""
        found = {issue.severity for issue in self.issues} | ({"error"} if self.unreadable else set())
        return next((severity for severity in SEVERITIES if severity in found), None)


class CheckSummary:
    """Sums sights of one modality, in the order of the cohort's table.

    Args:
        name: of the modality.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._readable = 0
        self._numbers: dict[str, tuple[int, float, float, float]] = {}
        self._texts: dict[str, Counter[str]] = {}
        self._issues: dict[str, tuple[list[str], list[Issue]]] = {}
        self._unreadable: dict[tuple[str, str], list[str]] = {}
        self._contents: list[tuple[Study, Content]] = []

    def add(self, study: Study, sight: Inspection) -> None:
        """Take in what one study's source shows."""
        if sight.unreadable:
            self._unreadable.setdefault((sight.stored_as, sight.unreadable), []).append(study.study_id)
            return
        self._readable += 1
        for fact, value in sight.facts.items():
            if isinstance(value, str):
                self._tell(fact, value)
            elif math.isfinite(value):
                self._measure(fact, value)
        for issue in sight.issues:
            self._worry(study.study_id, issue)
        if sight.content is not None:
            self._contents.append((study, sight.content))

    def result(self) -> ModalityCheck:
        """Everything that was taken in, with duplicates among it."""
        duplicates = []
        for duplicate, issue in find_duplicates(self._name, self._contents):
            duplicates.append(duplicate)
            for study in duplicate.studies:
                self._worry(study, issue)
        unreadable = [
            Unreadable(stored_as=stored_as, reason=reason, studies=studies)
            for (stored_as, reason), studies in sorted(self._unreadable.items())
        ]
        found = [self._found(code, *entry) for code, entry in self._issues.items()]
        return ModalityCheck(
            present=self._readable + sum(len(one.studies) for one in unreadable),
            readable=self._readable,
            numbers={
                fact: Distribution(min=low, mean=total / count, max=high)
                for fact, (count, total, low, high) in self._numbers.items()
            },
            texts={fact: dict(sorted(values.items())) for fact, values in sorted(self._texts.items())},
            issues=sorted(found, key=lambda one: (SEVERITIES.index(one.severity), -one.count, one.code)),
            unreadable=unreadable,
            duplicates=sorted(duplicates, key=lambda one: SEVERITIES.index(one.severity)),
        )

    def _tell(self, fact: str, value: str) -> None:
        values = self._texts.setdefault(fact, Counter())
        values[value if value in values or len(values) < _MOST_TEXTS else _OTHERS] += 1

    def _measure(self, fact: str, value: float) -> None:
        count, total, low, high = self._numbers.get(fact, (0, 0.0, math.inf, -math.inf))
        self._numbers[fact] = count + 1, total + value, min(low, value), max(high, value)

    def _worry(self, study: str, issue: Issue) -> None:
        """A study counts once for each kind, however often it has it."""
        studies, issues = self._issues.setdefault(issue.code, ([], []))
        if not studies or studies[-1] != study:
            studies.append(study)
        if not any(known.severity == issue.severity for known in issues):
            issues.append(issue)

    def _found(self, code: str, studies: list[str], issues: list[Issue]) -> Found:
        """The worst of one kind; what no more than the tolerated share has is a note."""
        worst = min(issues, key=lambda one: SEVERITIES.index(one.severity))
        mild = len(studies) <= worst.tolerated * self._readable
        return Found(
            code=code,
            severity="note" if mild else worst.severity,
            message=worst.message,
            count=len(studies),
            studies=studies[:_NAMED],
        )


def check_cohort(
    cohort: Cohort, modalities: Mapping[str, Modality], *, workers: int = 2, seconds: float = 60.0
) -> dict[str, ModalityCheck]:
    """Read and look over every source, in other processes, and find duplicates by content.

    Each file is decoded once. Its digest, and a header that is looked at again, come from the pages that decoding has
    left in memory. A plugin that must learn before it can describe is fitted on as many training sources as it asks
    for, at most; those are decoded twice. The result is the same whatever ``workers`` is.

    Args:
        cohort: whose sources are read.
        modalities: plugins by name, which are copied to the reading processes.
        workers: processes that read; 0 reads in this one, where a decoder that crashes is not survived.
        seconds: after which a source is given up as unreadable.

    Raises:
        ValueError: ``workers`` or ``seconds`` out of range, or the reading processes cannot start.
    """
    entries = [(name, study) for name in modalities for study in cohort.studies if name in study.sources]
    tallies = {name: CheckSummary(name) for name in modalities}
    with Readers(modalities, workers=workers, seconds=seconds) as readers:
        _fit(cohort, modalities, readers)
        sights = readers.each([Task(name, study.sources[name]) for name, study in entries])
        # The order of the entries, not that of being done, so that sums come out the same to the last bit.
        for (name, study), sight in zip(
            entries, track(sights, description="reading sources", total=len(entries), transient=True), strict=True
        ):
            tallies[name].add(study, sight)
    return {name: tally.result() for name, tally in tallies.items()}


def _fit(cohort: Cohort, modalities: Mapping[str, Modality], readers: Readers) -> None:
    """Fit those plugins that need it to describe, each on a sample spread evenly over the training split."""
    for name, modality in modalities.items():
        wanted = modality.sample() if isinstance(modality, Inspectable) else 0
        train = [study for study in cohort.split("train") if name in study.sources]
        if not wanted or not train:
            continue
        chosen = train[:: math.ceil(len(train) / wanted)]
        raws = readers.each([Task(name, study.sources[name], decode=True) for study in chosen])
        if readable := [raw for raw in raws if raw is not None]:
            modality.fit(readable)
            readers.tell(name)
