"""Content of the evaluation card: provenance, data, results and notes."""

from dataclasses import dataclass

from polyclinic.evaluation.card.explaining import Deletion, StudyExplanation
from polyclinic.evaluation.card.findings import FindingCard, FindingComparison, Macro
from polyclinic.evaluation.card.missing import Missingness
from polyclinic.evaluation.metrics.agreement import AgreementResult
from polyclinic.evaluation.metrics.subgroups import Gap


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Provenance of the card.

    Attributes:
        task: task of the checkpoint.
        checkpoint_sha256: SHA-256 of the checkpoint file.
        run_id: MLflow id of the training run, if it was tracked.
        trained_on: fingerprint of the training cohort.
        cohort: name of the evaluated cohort.
        fingerprint: fingerprint of the evaluated cohort.
        commit: commit of the code, with "+" for local changes; None outside git.
        version: version of polyclinic.
        date: date and time in UTC.
        label_policy: values that uncertain and blank labels are mapped to.
        prompts: file name, digest, score rule and texts; None for a trained head.
        settings: settings of the card.
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
    """Size and modalities of the evaluated split.

    Attributes:
        split: name of the split.
        studies: number of its studies.
        patients: number of its patients.
        validation_studies: number of studies of the validation split.
        present: share of the studies that have each input modality.
        query: input modalities.
        silent: input modalities that no study of the split has.
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
    """Content of the evaluation card.

    Attributes:
        notes: warnings shown first.
        prompt_spread: spread of each finding's AUROC over wordings; None for a trained head.
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
    """Return warnings about missing modalities, undefined results, subgroup gaps and failed deletion tests."""
    warnings = [f"no study of the split has modality {name!r}: it is not evaluated" for name in data.silent]
    for card in findings:
        if card.problem is not None:
            warnings.append(f"{card.name}: {card.problem}")
        warnings += [f"{card.name}: no operating point by {point.threshold.rule}, as {point.threshold.reason}"
                     for point in card.operating if point.threshold.reason is not None]  # fmt: skip
        warnings += [f"{card.name}: prediction sets: {limit}" for limit in card.conformal.limits]
        warnings += _groups(card)
    warnings += [
        f"the explanations of {test.modality} were not tested: {test.problem}" for test in deletions if test.problem
    ]
    warnings += [
        f"the explanations of {test.modality} fail the deletion test on {test.finding}: the score falls no faster than "
        "with random deletion"
        for test in deletions
        if test.report is not None and not test.report.advantage_ci95.low > 0
    ]
    return tuple(warnings)


def _groups(card: FindingCard) -> list[str]:
    warnings = []
    for column, groups in card.subgroups.columns.items():
        warnings += [
            f"{card.name}, {column} {group.name}: {value}"
            for group in groups.groups
            for value in [group.metrics["auroc"]]
            if isinstance(value, str)
        ]
        gap = groups.gaps.get("auroc")
        if isinstance(gap, Gap) and gap.difference.ci95.low > 0:
            warnings.append(
                f"{card.name}: AUROC is {gap.difference.value:.3f} lower for {column} {gap.lowest} than for "
                f"{gap.highest} ({gap.difference.ci95.low:.3f} to {gap.difference.ci95.high:.3f})"
            )
    return warnings
