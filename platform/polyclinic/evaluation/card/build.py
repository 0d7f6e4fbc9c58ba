"""Build the evaluation card from the scores of a model."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit

from polyclinic.evaluation.card.content import Card, Data, Origin, notes
from polyclinic.evaluation.card.explaining import chosen_cases, deletions, explain
from polyclinic.evaluation.card.findings import FindingCard, calibrated, compare, finding_cards, macro
from polyclinic.evaluation.card.missing import missingness
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.agreement import AgreementResult, agreement_report
from polyclinic.evaluation.metrics.intervals import patient_resamples
from polyclinic.evaluation.scorers import Scorer, TrainedScorer, ZeroShotScorer


def build_card(
    scorer: Scorer,
    encoders: torch.nn.ModuleDict,
    validation: EmbeddedSplit,
    test: EmbeddedSplit,
    theirs: Float[np.ndarray, "N F"] | None,
    origin: Origin,
    *,
    alpha: float,
    minimum: int,
    stated: Sequence[float],
    resamples: int,
    seed: int,
    explained: int | Sequence[str],
) -> Card:
    """Measure all results of the card.

    Args:
        scorer: scorer of the findings.
        encoders: encoders by modality.
        validation: split for thresholds, calibration and prediction sets.
        test: reported split.
        theirs: scores of another run on the reported split.
        origin: provenance of the card.
        alpha: share of each class that a prediction set may miss.
        minimum: minimum number of studies in a subgroup.
        stated: probabilities to use as additional thresholds.
        resamples: number of resamples of patients.
        seed: seed of all random draws.
        explained: number of studies to explain, or their ids.
    """
    weights = patient_resamples(test.patient_ids, resamples, seed)
    validation_scores, scores = (scorer.scores(part, scorer.modalities) for part in (validation, test))
    findings = finding_cards(
        names=scorer.findings, validation=(validation_scores, validation.outcomes), test=(scores, test.outcomes),
        studies=test, weights=weights, alpha=alpha, minimum=minimum, stated=stated,
    )  # fmt: skip
    probabilities = _probabilities(scores, findings)
    cases = chosen_cases(scorer, test, scores, probabilities, explained)
    tested = deletions(scorer, encoders, test, resamples=resamples, seed=seed)
    data = _data(scorer, validation, test)
    return Card(
        origin=origin,
        data=data,
        notes=notes(data, findings, tested),
        macro=macro(scores, test.outcomes, weights),
        findings=findings,
        agreement=_agreement(scorer, test, resamples, seed),
        prompt_spread=scorer.spreads(test) if isinstance(scorer, ZeroShotScorer) else None,
        missingness=missingness(scorer, test, weights, seed),
        comparison=() if theirs is None else compare(scorer.findings, scores, theirs, test.outcomes, weights),
        explanations=explain(scorer, test, cases, scores, probabilities),
        deletions=tested,
    )


def _agreement(scorer: Scorer, test: EmbeddedSplit, resamples: int, seed: int) -> tuple[AgreementResult, ...]:
    """Measure agreement on classes, levels and quantities, which only a trained head predicts."""
    if not isinstance(scorer, TrainedScorer):
        return ()
    return agreement_report(
        predictions=scorer.predictions(test, scorer.modalities), labels=test.labels, targets=scorer.targets,
        patient_ids=test.patient_ids, resamples=resamples, seed=seed,
    )  # fmt: skip


def _probabilities(scores: Float[np.ndarray, "N F"], findings: Sequence[FindingCard]) -> Float[np.ndarray, "N F"]:
    return np.stack(
        [expit(calibrated(column, card.calibration.platt)) for column, card in zip(scores.T, findings, strict=True)],
        axis=1,
    )


def _data(scorer: Scorer, validation: EmbeddedSplit, test: EmbeddedSplit) -> Data:
    present = {name: float(test.present[name].float().mean()) for name in scorer.modalities}
    return Data(
        split=test.split,
        studies=len(test.study_ids),
        patients=len(set(test.patient_ids)),
        validation_studies=len(validation.study_ids),
        present=present,
        query=scorer.modalities,
        silent=tuple(name for name, share in present.items() if share == 0),
    )
