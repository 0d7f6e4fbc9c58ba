"""Everything that the card says, as data."""

from dataclasses import dataclass

from polyclinic.evaluation.card.explaining import Deletion, StudyExplanation
from polyclinic.evaluation.card.findings import FindingCard, FindingComparison, Macro
from polyclinic.evaluation.card.missing import Missingness
from polyclinic.evaluation.metrics.agreement import AgreementResult
from polyclinic.evaluation.metrics.subgroups import Gap


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the card was computed from.

    Attributes:
        task: of the checkpoint.
        checkpoint_sha256: of its file.
        run_id: of the run that trained it, if it was tracked.
        trained_on: fingerprint of the cohort that it was trained on.
        cohort: name of the cohort that was evaluated.
        fingerprint: of that cohort.
        commit: of the code that computed the card, with "+" where it was changed; None outside git.
        version: of polyclinic.
        date: in UTC.
        label_policy: what uncertain and blank labels count as.
        prompts: file name, digest, score rule and texts; None for a trained head.
        settings: of the card.
    """

    task: str
    checkpoint_sha256: str
    run_id: str | None
    trained_on: str
    cohort: str
    fingerprint: str
    commit: str | None
    version: str
    date: str
    label_policy: dict[str, str | float]
    prompts: dict[str, object] | None
    settings: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The split that was evaluated.

    Attributes:
        present: share of its studies that have each modality.
        silent: modalities of the checkpoint that no study of the split has, or that prompts speak for.
    """

    split: str
    studies: int
    patients: int
    validation_studies: int
    present: dict[str, float]
    query: tuple[str, ...]
    silent: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Card:
    """The card.

    Attributes:
        notes: what a reader must know first.
        prompt_spread: by finding, how far its AUROC moves with the wording; None for a trained head.
    """

    origin: Origin
    data: Data
    notes: tuple[str, ...]
    macro: Macro
    findings: tuple[FindingCard, ...]
    agreement: tuple[AgreementResult, ...]
    prompt_spread: dict[str, float] | None
    missingness: Missingness
    comparison: tuple[FindingComparison, ...]
    explanations: tuple[StudyExplanation, ...]
    deletions: tuple[Deletion, ...]


def notes(data: Data, findings: tuple[FindingCard, ...], deletions: tuple[Deletion, ...]) -> tuple[str, ...]:
    """Statements on what is missing, not told apart, uneven, or not to be believed."""
    told = [f"no study of the split has modality {name!r}: nothing here tells of it" for name in data.silent]
    for card in findings:
        if card.problem is not None:
            told.append(f"{card.name}: {card.problem}")
        told += [f"{card.name}: no operating point by {one.threshold.rule}, as {one.threshold.reason}"
                 for one in card.operating if one.threshold.reason is not None]  # fmt: skip
        told += [f"{card.name}: prediction sets: {limit}" for limit in card.conformal.limits]
        told += _groups(card)
    told += [f"the explanations of {one.modality} were not tested: {one.problem}" for one in deletions if one.problem]
    told += [
        f"the explanations of {one.modality} fail the deletion test on {one.finding}: the score falls no faster than "
        "at random"
        for one in deletions
        if one.report is not None and not one.report.advantage_ci95.low > 0
    ]
    return tuple(told)


def _groups(card: FindingCard) -> list[str]:
    told = []
    for column, groups in card.subgroups.columns.items():
        told += [
            f"{card.name}, {column} {group.name}: {value}"
            for group in groups.groups
            for value in [group.metrics["auroc"]]
            if isinstance(value, str)
        ]
        gap = groups.gaps.get("auroc")
        if isinstance(gap, Gap) and gap.difference.ci95.low > 0:
            told.append(
                f"{card.name}: AUROC is {gap.difference.value:.3f} lower for {column} {gap.lowest} than for "
                f"{gap.highest} ({gap.difference.ci95.low:.3f} to {gap.difference.ci95.high:.3f})"
            )
    return told
