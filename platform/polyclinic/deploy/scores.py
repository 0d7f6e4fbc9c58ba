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
        score: log-odds of the prompts or of the head; positive values are evidence for the finding.
        probability: probability calibrated on validation studies with these modalities; None without a fit.
        interval: central 95 % interval of the probability over resampled validation patients; None without a fit.
        threshold: threshold on the probability; None without one.
        decision: ``present`` or ``absent``; None if the scorer abstains.
        abstained: whether the scorer abstains.
        reason: reason to abstain; None if there is a decision.
        possible: prediction set.
        contributions: Shapley value of each used modality; they sum to the score minus the score from no input, which
            is 0 for prompts.
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
class EstimateScore:
    """Estimate of one level or quantity.

    Attributes:
        name: name of the level or quantity.
        unit: unit of a quantity.
        levels: names of the levels, in rising order; none for a quantity.
        value: quantity in its unit, or expected level, counted from 0.
        level: name of the level that is nearest to ``value``; None for a quantity.
        interval: interval that holds the true value for a share ``1 - alpha`` of studies like those of validation with
            these modalities; None if validation has too few of them.
        abstained: whether the evidence does not support the estimate.
        reason: reason to abstain; None without one.
        contributions: Shapley value of each used modality; they sum to ``value`` minus the value from no input.
        error: mean absolute error and 95 % interval on validation studies with these modalities; None if unknown.
    """

    name: str
    unit: str
    levels: tuple[str, ...]
    value: float
    level: str | None
    interval: tuple[float, float] | None
    abstained: bool
    reason: str | None
    contributions: dict[str, float]
    error: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class StudyScores:
    """Scores of one study.

    Attributes:
        bundle: digest of the bundle.
        modalities: use of each input modality.
        findings: score of each finding, and of each class against the others.
        estimates: estimate of each level and quantity of a trained head; none for prompts.
        notes: warnings for the reader, as sentences.
    """

    bundle: str
    modalities: dict[str, ModalityUse]
    findings: tuple[FindingScore, ...]
    estimates: tuple[EstimateScore, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the scores as plain values."""
        return asdict(self)
