"""What reading one modality of a cohort showed, summed up study by study."""

import math
from collections import Counter
from dataclasses import dataclass, field

from polyclinic.cohort.check.duplicates import Duplicate, find_duplicates
from polyclinic.cohort.check.source import Content, Sight
from polyclinic.cohort.cohort import Study
from polyclinic.modality import Concern, Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""

_NAMED = 20
_MOST_TEXTS = 30
_OTHERS = "others"


@dataclass(kw_only=True)
class Spread:
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
    """One kind of concern: its worst severity, what was said of the first study, how many studies, the first 20."""

    code: str
    severity: Severity
    said: str
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
        concerns: of readable sources, the worst and most frequent first.
        unreadable: by how they are stored and by reason.
        duplicates: groups of studies with one content.
    """

    present: int
    readable: int
    numbers: dict[str, Spread]
    texts: dict[str, dict[str, int]]
    concerns: list[Found]
    unreadable: list[Unreadable]
    duplicates: list[Duplicate]

    @property
    def severity(self) -> Severity | None:
        """The worst that was found; a source that does not decode is an error."""
        found = {concern.severity for concern in self.concerns} | ({"error"} if self.unreadable else set())
        return next((severity for severity in SEVERITIES if severity in found), None)


class Tally:
    """Sums sights of one modality, in the order of the cohort's table.

    Args:
        name: of the modality.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._readable = 0
        self._numbers: dict[str, tuple[int, float, float, float]] = {}
        self._texts: dict[str, Counter[str]] = {}
        self._concerns: dict[str, tuple[list[str], list[Concern]]] = {}
        self._unreadable: dict[tuple[str, str], list[str]] = {}
        self._contents: list[tuple[Study, Content]] = []

    def add(self, study: Study, sight: Sight) -> None:
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
        for concern in sight.concerns:
            self._worry(study.study_id, concern)
        if sight.content is not None:
            self._contents.append((study, sight.content))

    def result(self) -> ModalityCheck:
        """Everything that was taken in, with duplicates among it."""
        duplicates = []
        for duplicate, concern in find_duplicates(self._name, self._contents):
            duplicates.append(duplicate)
            for study in duplicate.studies:
                self._worry(study, concern)
        unreadable = [
            Unreadable(stored_as=stored_as, reason=reason, studies=studies)
            for (stored_as, reason), studies in sorted(self._unreadable.items())
        ]
        found = [self._found(code, *entry) for code, entry in self._concerns.items()]
        return ModalityCheck(
            present=self._readable + sum(len(one.studies) for one in unreadable),
            readable=self._readable,
            numbers={
                fact: Spread(min=low, mean=total / count, max=high)
                for fact, (count, total, low, high) in self._numbers.items()
            },
            texts={fact: dict(sorted(values.items())) for fact, values in sorted(self._texts.items())},
            concerns=sorted(found, key=lambda one: (SEVERITIES.index(one.severity), -one.count, one.code)),
            unreadable=unreadable,
            duplicates=sorted(duplicates, key=lambda one: SEVERITIES.index(one.severity)),
        )

    def _tell(self, fact: str, value: str) -> None:
        values = self._texts.setdefault(fact, Counter())
        values[value if value in values or len(values) < _MOST_TEXTS else _OTHERS] += 1

    def _measure(self, fact: str, value: float) -> None:
        count, total, low, high = self._numbers.get(fact, (0, 0.0, math.inf, -math.inf))
        self._numbers[fact] = count + 1, total + value, min(low, value), max(high, value)

    def _worry(self, study: str, concern: Concern) -> None:
        """A study counts once for each kind, however often it has it."""
        studies, concerns = self._concerns.setdefault(concern.code, ([], []))
        if not studies or studies[-1] != study:
            studies.append(study)
        if not any(known.severity == concern.severity for known in concerns):
            concerns.append(concern)

    def _found(self, code: str, studies: list[str], concerns: list[Concern]) -> Found:
        """The worst of one kind; what no more than the tolerated share has is a note."""
        worst = min(concerns, key=lambda one: SEVERITIES.index(one.severity))
        mild = len(studies) <= worst.tolerated * self._readable
        return Found(
            code=code,
            severity="note" if mild else worst.severity,
            said=worst.said,
            count=len(studies),
            studies=studies[:_NAMED],
        )
