"""Scores of a study as research results, for the structured reports that plugins write."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from polyclinic.modality.contract import Source
from polyclinic.system.research import ResearchModel


@dataclass(frozen=True, kw_only=True)
class ResearchFinding:
    """Score of a finding, or the estimate of a level or quantity.

    Attributes:
        name: name of the finding, level or quantity.
        value: probability, or the estimate in ``unit``; None without one.
        unit: UCUM ``1`` for a probability and a level, else the unit of a quantity.
        interval: 95 % interval of a probability, or that of the estimate; None without one.
        answer: ``present``, ``absent`` or the name of a level; empty where there is none.
        reason: reason to abstain; empty without one.
        is_probability: whether the value is a probability.
    """

    name: str
    value: float | None
    unit: str
    interval: tuple[float, float] | None
    answer: str
    reason: str
    is_probability: bool


@dataclass(frozen=True, kw_only=True)
class ResearchReport:
    """Scores of one study.

    Attributes:
        model: the bundle.
        content_key: digest of the content of all sources of the study, so that UIDs of its documents are the same
            whenever the same files are scored.
        findings: findings, levels and quantities.
        notes: warnings for the reader, as sentences.
    """

    model: ResearchModel
    content_key: str
    findings: tuple[ResearchFinding, ...]
    notes: tuple[str, ...]


@runtime_checkable
class Reportable(Protocol):
    """Modality that writes scores as a document beside its source, such as a DICOM structured report."""

    def report(self, source: Source, report: ResearchReport) -> bytes | None:
        """Return a document that references the source and is marked as research; None for another kind of source.

        The same source and report give the same identifier of the document.

        Raises:
            UnreadableSource: the source lacks what a reference needs.
        """
