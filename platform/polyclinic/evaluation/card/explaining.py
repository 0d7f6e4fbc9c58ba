"""Explanations of single studies on the card, and the deletion test of the explanations."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.evaluation.card.missing import every_subset
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.explain import DeletionCurve, DeletionReport, deletion_curve, deletion_report
from polyclinic.evaluation.metrics.auroc import auroc_per_column
from polyclinic.evaluation.metrics.missingness import contributions
from polyclinic.evaluation.scorers import Scorer
from polyclinic.modality import Explainable, Imputable, Modality
from polyclinic.nn import Encoder
from polyclinic.nn.relevance import token_relevance

_MAX_DELETION_STUDIES = 64


@dataclass(frozen=True, kw_only=True)
class StudyExplanation:
    """Explanation of the score of one study.

    Attributes:
        case: why the study was chosen: the ``best case`` or ``worst case`` of the finding, or ``chosen`` by its id.
        study_id: identifier of the study.
        finding: explained finding.
        label: 1, 0, or NaN where unknown.
        score: score of the finding in log-odds.
        probability: calibrated probability.
        shapley: contribution of each available modality to the log-odds, relative to the score for no input.
    """

    case: str
    study_id: str
    finding: str
    label: float
    score: float
    probability: float
    shapley: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """The deletion test of one modality, on the finding with the highest AUROC from that modality alone.

    Attributes:
        modality: tested modality.
        finding: finding whose score is used.
        report: result; None if the test could not be run.
        problem: reason why there is no report.
    """

    modality: str
    finding: str
    report: DeletionReport | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Case:
    """A study to explain: its row, the finding, and why it was chosen."""

    row: int
    finding: str
    case: str


def chosen_cases(
    scorer: Scorer,
    studies: EmbeddedSplit,
    scores: Float[np.ndarray, "N F"],
    probabilities: Float[np.ndarray, "N F"],
    explained: int | Sequence[str],
) -> list[Case]:
    """Return the studies and findings to explain.

    Studies given by id are explained for the finding on which each ranks highest among all studies. Otherwise, each
    finding in turn gets its best and its worst case, and no study is shown twice. The best case is the positive study
    with the most modalities and then the highest score; the worst is the study whose probability is furthest from its
    label.

    Args:
        scorer: scorer of the findings.
        studies: studies of the split.
        scores: scores of all findings from all input modalities.
        probabilities: calibrated probabilities for these scores.
        explained: maximum number of studies, or their ids.

    Raises:
        ValueError: a study id is not in the split.
    """
    ranks = scores.argsort(axis=0).argsort(axis=0)
    if not isinstance(explained, int):
        if unknown := [study for study in explained if study not in studies.study_ids]:
            raise ValueError(f"got study {unknown[0]!r}, which is not in the split; set `--studies`")
        rows = [studies.study_ids.index(study) for study in explained]
        return [Case(row=row, finding=scorer.findings[int(ranks[row].argmax())], case="chosen") for row in rows]
    modalities = torch.stack([studies.present[name] for name in scorer.modalities]).sum(dim=0).numpy()
    cases: list[Case] = []
    for place, finding in enumerate(scorer.findings):
        labels = studies.outcomes[:, place]
        positive, known = np.flatnonzero(labels == 1), np.flatnonzero(~np.isnan(labels))
        best = positive[np.lexsort((-ranks[positive, place], -modalities[positive]))]
        worst = known[np.argsort(-np.abs(labels - probabilities[:, place])[known], kind="stable")]
        for case, order in (("best case", best), ("worst case", worst)):
            unused = [int(row) for row in order if row not in {other.row for other in cases}]
            cases += [Case(row=row, finding=finding, case=case) for row in unused[:1]]
    return cases[:explained]


def explain(
    scorer: Scorer,
    studies: EmbeddedSplit,
    cases: Sequence[Case],
    scores: Float[np.ndarray, "N F"],
    probabilities: Float[np.ndarray, "N F"],
) -> tuple[StudyExplanation, ...]:
    """Attribute the log-odds of the chosen studies to modalities by Shapley values over all subsets."""
    explanations = []
    by_subset = {frozenset(names): scorer.scores(studies, names) for names in every_subset(scorer.modalities)}
    no_input = scorer.scores(studies, ())
    for chosen in cases:
        row, place = chosen.row, scorer.findings.index(chosen.finding)
        shares = contributions(
            {names: float(values[row, place]) for names, values in by_subset.items()}, no_input[row, place]
        )
        explanations.append(
            StudyExplanation(
                case=chosen.case,
                study_id=studies.study_ids[row],
                finding=chosen.finding,
                label=float(studies.outcomes[row, place]),
                score=float(scores[row, place]),
                probability=float(probabilities[row, place]),
                shapley={name: value for name, value in shares.shapley.items() if bool(studies.present[name][row])},
            )
        )
    return tuple(explanations)


def relevance_pictures(
    scorer: Scorer,
    encoders: torch.nn.ModuleDict,
    modalities: Mapping[str, Modality],
    studies: EmbeddedSplit,
    explanations: Sequence[StudyExplanation],
) -> dict[str, dict[str, Figure | str]]:
    """Draw token relevance by explained study and available modality, or return the reason why it is not drawn."""
    return {
        explanation.study_id: _pictures(
            scorer, encoders, modalities, one_study(studies, explanation.study_id), explanation.finding
        )
        for explanation in explanations
    }


def deletions(
    scorer: Scorer,
    encoders: torch.nn.ModuleDict,
    studies: EmbeddedSplit,
    *,
    resamples: int,
    seed: int,
) -> tuple[Deletion, ...]:
    """Run the deletion test of every input modality, on up to 64 studies that have it."""
    return tuple(_deletion(scorer, encoders[name], name, studies, resamples, seed) for name in scorer.modalities)


def one_study(studies: EmbeddedSplit, study_id: str) -> Batch:
    """Return the batch of a single study."""
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
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    row = {key: value[0] for key, value in study.inputs[name].items()}
    problem = f"{type(plugin).__name__} draws no explanations"
    try:
        if isinstance(plugin, Explainable):
            relevance = token_relevance(encoder, study.inputs[name], scorer.score_of(study, name, finding))[0]
            plugin.draw_relevance(row, relevance, figure.subplots())
            return figure
    except ValueError as error:
        problem = str(error)
    if not isinstance(plugin, Imputable):
        return f"not drawn: {problem}"
    figure.clear()
    plugin.draw(row, figure.subplots())
    figure.suptitle("without relevance: " + textwrap.shorten(problem, 80), fontsize=8)
    return figure


def _deletion(
    scorer: Scorer, encoder: torch.nn.Module, name: str, studies: EmbeddedSplit, resamples: int, seed: int
) -> Deletion:
    assert isinstance(encoder, Encoder)
    alone = auroc_per_column(scorer.scores(studies, [name]), studies.outcomes)
    finding = scorer.findings[int(np.nan_to_num(alone).argmax())]
    rng = np.random.default_rng(seed)
    curves: list[DeletionCurve] = []
    patients: list[str] = []
    for batch in studies.batches:
        available = batch.select(_first(batch.present[name], _MAX_DELETION_STUDIES - len(patients)))
        if not len(available):
            continue
        try:
            score = scorer.score_of(available, name, finding)
            relevance = token_relevance(encoder, available.inputs[name], score)
            curves.append(deletion_curve(encoder, available.inputs[name], relevance, score, rng=rng))
        except ValueError as problem:
            return Deletion(modality=name, finding=finding, report=None, problem=str(problem))
        patients += available.patient_ids
    if not curves:
        return Deletion(modality=name, finding=finding, report=None, problem="no study of the split has it")
    report = deletion_report(curves, patients, resamples=resamples, seed=seed)
    return Deletion(modality=name, finding=finding, report=report, problem=None)


def _first(rows: Tensor, count: int) -> Tensor:
    """Return a mask of the first ``count`` rows that are True."""
    return rows & (rows.cumsum(dim=0) <= count)
