"""``polyclinic evaluate retrieval``: retrieve one modality of a study by others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from polyclinic.cli.options import ReportOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.embedding import EmbeddedSplit, embed_split
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.retrieval.candidates import CandidateSets, read_candidate_sets, retrieval_in_sets
from polyclinic.evaluation.retrieval.examples import retrieval_examples
from polyclinic.evaluation.retrieval.retrieval import RetrievalResult, retrieval_report
from polyclinic.evaluation.retrieval.variations import embed_variations, rank_spread
from polyclinic.evaluation.scorers import chosen_query
from polyclinic.evaluation.tables import as_json, print_candidate_sets, print_rank_spread, print_retrieval
from polyclinic.files.results import refuse_unwritable
from polyclinic.system.names import refuse_unknown
from polyclinic.system.terminal import Console
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tracking import modality_gap, similarity_matrix
from polyclinic.training.restore import Restored, restore

_MAX_FIGURE_STUDIES = 40


def retrieval(
    checkpoint: Path,
    target: str,
    options: ReportOptions,
    query: list[str] | None = None,
    complete: bool = False,
    candidates: int = 10,
    candidate_sets: Path | None = None,
    k: tuple[int, ...] = (1, 5, 10),
    texts: int = 0,
    vary: str | None = None,
) -> None:
    """Retrieve a study's target among candidates: polyclinic evaluate retrieval last.ckpt xray --query '[ecg, report]'

    Args:
        checkpoint: checkpoint of a contrastive run.
        target: modality to retrieve.
        options: studies to evaluate, and the file for the report.
        query: query modalities; all but the target unless set.
        complete: whether to require all query modalities of a study, instead of any.
        candidates: number of candidates, the matching one included; retrieval among all is reported too.
        candidate_sets: Parquet or CSV table of fixed candidates instead of random ones, one row each: ``split``,
            ``query_study``, ``candidate_study`` and ``label``, 1 for the query's study and 0 for a distractor.
        k: cut-offs of the recall.
        texts: number of random variations of a query modality, 2 or more, to measure the spread of ranks; 0 for none.
        vary: query modality to vary; required if there are several.
    """
    refuse_unwritable(options.json)
    restored = restore(checkpoint, cohort=options.cohort)
    names = _query(restored, query, besides=target)
    varied = _varied(names, texts, vary)
    sets = None if candidate_sets is None else _read_sets(restored, candidate_sets, options.split, varied)
    overlap = check_overlap(restored, options.split, allowed=options.allow_overlap)
    settings = {"query": names, "target": target, "split": options.split, "complete": complete}
    split_studies = embed_split(restored, options.split)
    studies = _with_query(split_studies, names, complete=complete)
    studies = studies.select(studies.present[target])
    if sets is not None:
        content, metrics = _in_sets(
            restored, split_studies, studies, sets, settings, resamples=options.resamples, seed=options.seed, k=k
        )
        write_report(
            restored, "candidate_sets", content, metrics, {}, options.json, overlap=overlap,
            following=("polyclinic", "evaluate", "retrieval", checkpoint, target, "--split", options.split),
        )  # fmt: skip
        return
    scores = _scores(restored, studies, names, studies.embeddings[target])
    report = retrieval_report(
        scores=scores.numpy(), patient_ids=studies.patient_ids, candidates=candidates, resamples=options.resamples,
        seed=options.seed, k=k,
    )  # fmt: skip
    console = Console()
    print_retrieval(report, console)
    spread = None
    if varied is not None:
        variations = _variations(restored, options.split, studies, varied, texts, options.seed)
        changed = (replace(studies, embeddings={**studies.embeddings, varied: rows}) for rows in variations)
        spread = rank_spread(
            varied, (_scores(restored, variation, names, studies.embeddings[target]) for variation in changed),
            studies.patient_ids, studies.present[varied], resamples=options.resamples, seed=options.seed,
        )  # fmt: skip
        print_rank_spread(spread, console)
    figures = _figures(scores, studies)
    examples = retrieval_examples(restored, studies, scores.numpy(), names, target)
    figures |= {} if examples is None else {"examples": examples}
    content = {**as_json(report), **settings, "texts": spread and as_json(spread)}
    metrics = _recalls(f"{options.split}/retrieval", report.sampled)
    write_report(
        restored, "retrieval", content, metrics, figures, options.json, overlap=overlap,
        following=("polyclinic", "evaluate", "linkage", checkpoint, names[0], target),
    )  # fmt: skip


def _figures(scores: Tensor, studies: EmbeddedSplit) -> dict[str, Figure]:
    return {
        "similarity": similarity_matrix(
            scores[:_MAX_FIGURE_STUDIES, :_MAX_FIGURE_STUDIES].numpy(), studies.study_ids[:_MAX_FIGURE_STUDIES]
        ),
        "modality_gap": modality_gap(
            {name: value[studies.present[name]].numpy() for name, value in studies.embeddings.items()}
        ),
    }


def _read_sets(restored: Restored, path: Path, split: str, varied: str | None) -> CandidateSets:
    if varied is not None:
        raise ValueError(f"got candidate sets and variations of {varied}, expected one of them; remove `--texts`")
    return read_candidate_sets(path, split=split, studies=[study.study_id for study in restored.data.studies(split)])


def _in_sets(
    restored: Restored, split_studies: EmbeddedSplit, studies: EmbeddedSplit, sets: CandidateSets,
    settings: dict[str, Any], *, resamples: int, seed: int, k: Sequence[int],
) -> tuple[dict[str, Any], dict[str, Estimate]]:  # fmt: skip
    """Print the report of fixed candidates, and return it as JSON with its metrics."""
    target = settings["target"]
    candidates = split_studies.select(split_studies.present[target])
    report = retrieval_in_sets(
        scores=_scores(restored, studies, settings["query"], candidates.embeddings[target]).numpy(),
        queries=studies.study_ids,
        candidates=candidates.study_ids,
        sets=sets,
        patients=dict(zip(split_studies.study_ids, split_studies.patient_ids, strict=True)),
        resamples=resamples,
        seed=seed,
        k=k,
    )
    print_candidate_sets(report, Console())
    return {**as_json(report), **settings}, _recalls(f"{settings['split']}/candidate_sets", report.given)


def _query(restored: Restored, query: list[str] | None, *, besides: str) -> list[str]:
    modalities = list(restored.data.modalities)
    refuse_unknown("target", [besides], modalities, "set `target` to a modality of the checkpoint")
    return list(chosen_query([name for name in modalities if name != besides], query))


def _with_query(studies: EmbeddedSplit, names: Sequence[str], *, complete: bool) -> EmbeddedSplit:
    """Select the studies with any or, if ``complete``, all query modalities."""
    present = torch.stack([studies.present[name] for name in names])
    selected = studies.select(present.all(dim=0) if complete else present.any(dim=0))
    if not selected.study_ids:
        raise ValueError(f"no study has the query modalities {list(names)}; set `--query`")
    return selected


def _scores(
    restored: Restored, studies: EmbeddedSplit, names: Sequence[str], candidates: Float[Tensor, "C d"]
) -> Float[Tensor, "N C"]:
    objective = restored.task_of(ContrastivePretraining).objective
    with torch.inference_mode():
        return objective.score({name: studies.embeddings[name] for name in names}, candidates, studies.present)


def _varied(names: Sequence[str], texts: int, vary: str | None) -> str | None:
    """Return the query modality to vary, or None."""
    if texts == 0 and vary is None:
        return None
    if texts < 2:
        raise ValueError(f"got texts {texts} with vary {vary!r}, expected at least 2 variations; set `--texts`")
    if vary is None and len(names) > 1:
        raise ValueError(f"got several query modalities {list(names)} and texts {texts}; set `--vary` to one of them")
    refuse_unknown("query modality", [] if vary is None else [vary], names, "set `--vary`")
    return vary or names[0]


def _variations(
    restored: Restored, split: str, studies: EmbeddedSplit, name: str, texts: int, seed: int
) -> Float[Tensor, "V N d"]:
    """Return the embeddings of V variations, zero for studies without the modality."""
    rows = studies.present[name]
    if not rows.any():
        raise ValueError(f"no study of the split has both the target and modality {name!r}; set `--vary`")
    by_id = {study.study_id: study for study in restored.data.studies(split)}
    varied = embed_variations(
        restored, name, [by_id[study_id] for study_id in studies.select(rows).study_ids], texts=texts, seed=seed
    )
    return varied.new_zeros(texts, len(rows), varied.shape[-1]).index_copy(1, rows.nonzero()[:, 0], varied)


def _recalls(name: str, result: RetrievalResult) -> dict[str, Estimate]:
    recalls = {f"recall_at_{k}": accuracy for k, accuracy in result.recall.items() if accuracy is not None}
    return {
        f"{name}_{measure}": Estimate(accuracy.value, accuracy.ci95)
        for measure, accuracy in {**recalls, "mrr": result.mrr}.items()
    }
