"""What the card shows of single studies, and whether its explanations mean anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.evaluation.card.missing import every_subset
from polyclinic.evaluation.explain import DeletionCurve, DeletionReport, deletion_curve, deletion_report
from polyclinic.evaluation.metrics.auroc import auroc_per_column
from polyclinic.evaluation.metrics.missingness import contributions
from polyclinic.evaluation.scorers import Scorable, Scorer
from polyclinic.modality import Explainable, Modality
from polyclinic.nn import Encoder
from polyclinic.nn.relevance import token_relevance

_DELETED_STUDIES = 64


@dataclass(frozen=True, kw_only=True)
class StudyExplanation:
    """Why one study has its score.

    Attributes:
        finding: that is explained.
        label: 1, 0, or NaN where unknown.
        probability: after calibration.
        shapley: by modality that the study has, what it adds to the log-odds, which the model gives from nothing.
    """

    study_id: str
    finding: str
    label: float
    score: float
    probability: float
    shapley: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """The deletion test of one modality, on the finding that it tells best by itself.

    Attributes:
        report: None where the encoder cannot leave tokens out.
        problem: why there is none.
    """

    modality: str
    finding: str
    report: DeletionReport | None
    problem: str | None


def chosen_studies(
    scorer: Scorer, studies: Scorable, scores: Float[np.ndarray, "N F"], count: int, wanted: Sequence[str] | None
) -> list[tuple[int, str]]:
    """Rows and findings to explain: of each finding the study that has it and scores highest, of different studies.

    Args:
        scorer: of the findings.
        studies: of the split.
        scores: of all findings from all modalities.
        count: how many.
        wanted: study ids, each explained for its highest finding against the other studies; by scores unless given.

    Raises:
        ValueError: a study id that is not in the split.
    """
    ranks = scores.argsort(axis=0).argsort(axis=0)
    if wanted is not None:
        if unknown := [study for study in wanted if study not in studies.study_ids]:
            raise ValueError(f"got study {unknown[0]!r}, which is not in the split; set `--studies`")
        rows = [studies.study_ids.index(study) for study in wanted]
        return [(row, scorer.findings[int(ranks[row].argmax())]) for row in rows]
    modalities = torch.stack([studies.present[name] for name in scorer.modalities]).sum(dim=0).numpy()
    chosen: list[tuple[int, str]] = []
    for place, finding in enumerate(scorer.findings):
        having = np.flatnonzero(studies.outcomes[:, place] == 1)
        order = sorted(having, key=lambda row: (modalities[row], ranks[row, place]), reverse=True)
        free = [int(row) for row in order if row not in {taken for taken, _ in chosen}]
        if free and len(chosen) < count:
            chosen.append((free[0], finding))
    return chosen


def explain(
    scorer: Scorer,
    studies: Scorable,
    chosen: Sequence[tuple[int, str]],
    scores: Float[np.ndarray, "N F"],
    probabilities: Float[np.ndarray, "N F"],
) -> tuple[StudyExplanation, ...]:
    """What each modality adds to the log-odds of the chosen studies, by Shapley values over all subsets."""
    told = []
    every = {frozenset(names): scorer.scores(studies, names) for names in every_subset(scorer.modalities)}
    nothing = scorer.scores(studies, ())
    for row, finding in chosen:
        place = scorer.findings.index(finding)
        shares = contributions(
            {names: float(values[row, place]) for names, values in every.items()}, nothing[row, place]
        )
        told.append(
            StudyExplanation(
                study_id=studies.study_ids[row],
                finding=finding,
                label=float(studies.outcomes[row, place]),
                score=float(scores[row, place]),
                probability=float(probabilities[row, place]),
                shapley={name: value for name, value in shares.shapley.items() if bool(studies.present[name][row])},
            )
        )
    return tuple(told)


def relevance_pictures(
    scorer: Scorer,
    encoders: torch.nn.ModuleDict,
    modalities: Mapping[str, Modality],
    studies: Scorable,
    explanations: Sequence[StudyExplanation],
) -> dict[str, dict[str, Figure | str]]:
    """By explained study, by modality that it has, where the finding's score comes from, or why that is not drawn."""
    return {
        one.study_id: _pictures(scorer, encoders, modalities, one_study(studies, one.study_id), one.finding)
        for one in explanations
    }


def deletions(
    scorer: Scorer,
    encoders: torch.nn.ModuleDict,
    studies: Scorable,
    *,
    resamples: int,
    seed: int,
) -> tuple[Deletion, ...]:
    """The deletion test of every modality, on up to 64 studies that have it."""
    return tuple(_deletion(scorer, encoders[name], name, studies, resamples, seed) for name in scorer.modalities)


def one_study(studies: Scorable, study_id: str) -> Batch:
    """The batch of a single study."""
    batch = next(batch for batch in studies.batches if study_id in batch.study_ids)
    return batch.select(torch.arange(len(batch)) == batch.study_ids.index(study_id))


def _pictures(
    scorer: Scorer, encoders: torch.nn.ModuleDict, modalities: Mapping[str, Modality], study: Batch, finding: str
) -> dict[str, Figure | str]:
    return {
        name: _picture(scorer, encoders[name], modalities[name], study, name, finding)
        for name in scorer.modalities
        if name in study.inputs
    }


def _picture(
    scorer: Scorer, encoder: torch.nn.Module, plugin: Modality, study: Batch, name: str, finding: str
) -> Figure | str:
    assert isinstance(encoder, Encoder)
    if not isinstance(plugin, Explainable):
        return f"{type(plugin).__name__} draws no explanations"
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    row = {key: value[0] for key, value in study.inputs[name].items()}
    try:
        relevance = token_relevance(encoder, study.inputs[name], scorer.score_of(study, name, finding))[0]
        plugin.draw_relevance(row, relevance, figure.subplots())
    except ValueError as problem:
        return f"not drawn: {problem}"
    return figure


def _deletion(
    scorer: Scorer, encoder: torch.nn.Module, name: str, studies: Scorable, resamples: int, seed: int
) -> Deletion:
    assert isinstance(encoder, Encoder)
    alone = auroc_per_column(scorer.scores(studies, [name]), studies.outcomes)
    finding = scorer.findings[int(np.nan_to_num(alone).argmax())]
    rng = np.random.default_rng(seed)
    curves: list[DeletionCurve] = []
    patients: list[str] = []
    for batch in studies.batches:
        having = batch.select(_first(batch.present[name], _DELETED_STUDIES - len(patients)))
        if not len(having):
            continue
        score = scorer.score_of(having, name, finding)
        try:
            relevance = token_relevance(encoder, having.inputs[name], score)
            curves.append(deletion_curve(encoder, having.inputs[name], relevance, score, rng=rng))
        except ValueError as problem:
            return Deletion(modality=name, finding=finding, report=None, problem=str(problem))
        patients += having.patient_ids
    if not curves:
        return Deletion(modality=name, finding=finding, report=None, problem="no study of the split has it")
    report = deletion_report(curves, patients, resamples=resamples, seed=seed)
    return Deletion(modality=name, finding=finding, report=report, problem=None)


def _first(rows: Tensor, count: int) -> Tensor:
    """The first few of the rows that are True."""
    return rows & (rows.cumsum(dim=0) <= count)
