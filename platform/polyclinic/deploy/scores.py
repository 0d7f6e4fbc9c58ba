"""The scores of a study, as the scorer, ``polyclinic score``, the service and its OpenAPI document return them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Decision: TypeAlias = Literal["present", "absent"]


@dataclass(frozen=True, kw_only=True)
class ModalityUse:
    """Use of one input modality in the scores of a study.

    Attributes:
        used: whether the study has the modality.
        gate: weight from 0 to 1 of the reliability gate; None if the model has no gate.
        distance: distance to the studies of the training split; None if the modality is not used.
        limit: distance that one in a hundred validation studies exceeds.
        out_of_distribution: whether ``distance`` exceeds ``limit``.
        problem: reason why the source could not be read; None if it could.
    """

    used: bool
    gate: float | None
    distance: float | None
    limit: float
    out_of_distribution: bool
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class FindingScore:
    """Score of one finding, and the decision made from it.

    Attributes:
        name: name of the finding.
        score: log-odds of the prompts; positive values are evidence for the finding.
        probability: probability calibrated on validation studies with these modalities; None without a fit.
        interval: central 95 % interval of the probability over resampled validation patients; None without a fit.
        threshold: threshold on the probability; None without one.
        decision: ``present`` or ``absent``; None if the scorer abstains.
        abstained: whether the scorer abstains.
        reason: reason to abstain; None if there is a decision.
        possible: prediction set.
        contributions: Shapley value of each used modality; they sum to the score.
        auroc: value and 95 % interval on validation studies with these modalities; None if unknown.
    """

    name: str
    score: float
    probability: float | None
    interval: tuple[float, float] | None
    threshold: float | None
    decision: Decision | None
    abstained: bool
    reason: str | None
    possible: tuple[Decision, ...]
    contributions: dict[str, float]
    auroc: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class StudyScores:
    """Scores of one study.

    Attributes:
        bundle: digest of the bundle.
        modalities: use of each input modality.
        findings: score of each finding.
        notes: warnings for the reader, as sentences.
    """

    bundle: str
    modalities: dict[str, ModalityUse]
    findings: tuple[FindingScore, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the scores as plain values."""
        return asdict(self)
