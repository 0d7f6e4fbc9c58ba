"""What a study's score says, as data."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModalityUse:
    """What one modality of a study did.

    Attributes:
        used: whether the study has it, so that it speaks.
        gate: the weight from 0 to 1 that a reliability gate gives it; None where the model has none.
        distance: from the studies of the training split; None where it is not used.
        limit: that one in a hundred validation studies exceeds.
        out_of_distribution: whether ``distance`` is beyond it.
        problem: why its source could not be read; None where it could.
    """

    used: bool
    gate: float | None
    distance: float | None
    limit: float
    out_of_distribution: bool
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class FindingScore:
    """What a study's modalities say of one finding.

    Attributes:
        score: in log-odds of the prompts; above 0 speaks for the finding.
        probability: calibrated on validation studies with these modalities; None without a fit.
        interval: central 95 % over calibrations of resampled validation patients.
        threshold: on the probability.
        decision: ``present`` or ``absent``; None where the scorer abstains.
        abstained: whether it does.
        reason: why.
        possible: what the prediction set leaves possible.
        contributions: by modality, its Shapley share of the score; they add up to it.
        auroc: on validation studies with these modalities: value and 95 % interval; None where it is unknown.
    """

    name: str
    score: float
    probability: float | None
    interval: tuple[float, float] | None
    threshold: float | None
    decision: str | None
    abstained: bool
    reason: str | None
    possible: tuple[str, ...]
    contributions: dict[str, float]
    auroc: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class StudyScores:
    """All of it.

    Attributes:
        bundle: its digest.
        notes: sentences that a reader must know first.
    """

    bundle: str
    modalities: dict[str, ModalityUse]
    findings: tuple[FindingScore, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
