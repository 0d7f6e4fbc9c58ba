"""``polyclinic evaluate retrieval``: from any modalities of a study to another of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.embedding import Embedded, embed_split
from polyclinic.evaluation.retrieval.candidates import CandidateSets, read_candidate_sets, retrieval_in_sets
from polyclinic.evaluation.retrieval.retrieval import RetrievalResult, retrieval_report
from polyclinic.evaluation.retrieval.variations import embed_variations, rank_spread
from polyclinic.evaluation.tables import as_json, print_candidate_sets, print_rank_spread, print_retrieval
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tracking import modality_gap, similarity_matrix
from polyclinic.training.restore import Restored, restore

_SHOWN = 40


def retrieval(
    checkpoint: Path,
    target: str,
    cohort: Path | None = None,
    split: str = "test",
    query: list[str] | None = None,
    complete: bool = False,
    candidates: int = 10,
    candidate_sets: Path | None = None,
    k: tuple[int, ...] = (1, 5, 10),
    texts: int = 0,
    vary: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    allow_overlap: bool = False,
    json: Path | None = None,
) -> None:
    """Find a study's own target among others': polyclinic evaluate retrieval last.ckpt xray --query '[ecg, report]'

    Args:
        checkpoint: of a contrastive run.
        target: the modality to retrieve.
        cohort: in place of the one trained on.
        split: which studies.
        query: modalities that ask; all but the target unless set.
        complete: only studies that have every query modality, instead of those that have any.
        candidates: how many to choose from, the own one included; among all is reported beside it.
        candidate_sets: given candidates in place of random ones, a Parquet or CSV table with a row for each: ``split``,
            ``query_study``, ``candidate_study`` and ``label``, 1 for the query's own study and 0 for a distractor.
        k: how many of the first candidates may hold the target.
        texts: random variations of a query modality, two or more, to tell how far they move the rank; none when 0.
        vary: the query modality that is varied; needed where there are several.
        resamples: of patients, for the intervals.
        seed: of the candidates, the variations and the resamples.
        allow_overlap: whether to measure on studies that were seen before, too, and say so.
        json: file to write the report to.
    """
    restored = restore(checkpoint, cohort=cohort)
    names = _query(restored, query, besides=target)
    varied = _varied(names, texts, vary)
    sets = None if candidate_sets is None else _given(restored, candidate_sets, split, varied)
    overlap = check_overlap(restored, split, allowed=allow_overlap)
    settings = {"query": names, "target": target, "split": split, "complete": complete}
    everyone = embed_split(restored, split)
    studies = _having(everyone, names, complete=complete)
    studies = studies.select(studies.present[target])
    if sets is not None:
        content, metrics = _in_sets(restored, everyone, studies, sets, settings, resamples=resamples, seed=seed, k=k)
        write_report(restored, "candidate_sets", content, metrics, {}, json, overlap=overlap)
        print_next("polyclinic", "evaluate", "retrieval", checkpoint, target, "--split", split)
        return
    scores = _scores(restored, studies, names, studies.embeddings[target])
    report = retrieval_report(
        scores=scores.numpy(), patient_ids=studies.patient_ids, candidates=candidates, resamples=resamples, seed=seed,
        k=k,
    )  # fmt: skip
    console = Console()
    print_retrieval(report, console)
    spread = None
    if varied is not None:
        variations = _variations(restored, split, studies, varied, texts, seed)
        changed = (replace(studies, embeddings={**studies.embeddings, varied: one}) for one in variations)
        spread = rank_spread(
            varied, (_scores(restored, one, names, studies.embeddings[target]) for one in changed),
            studies.patient_ids, studies.present[varied], resamples=resamples, seed=seed,
        )  # fmt: skip
        print_rank_spread(spread, console)
    figures = {
        "similarity": similarity_matrix(scores[:_SHOWN, :_SHOWN].numpy(), studies.study_ids[:_SHOWN]),
        "modality_gap": modality_gap(
            {name: value[studies.present[name]].numpy() for name, value in studies.embeddings.items()}
        ),
    }
    content = {**as_json(report), **settings, "texts": spread and as_json(spread)}
    write_report(
        restored, "retrieval", content, _recalls(f"{split}/retrieval", report.sampled), figures, json, overlap=overlap
    )
    print_next("polyclinic", "evaluate", "linkage", checkpoint, names[0], target)


def _given(restored: Restored, path: Path, split: str, varied: str | None) -> CandidateSets:
    if varied is not None:
        raise ValueError(f"got candidate sets and variations of {varied}, expected one of them; remove `--texts`")
    return read_candidate_sets(path, split=split, studies=[study.study_id for study in restored.data.studies(split)])


def _in_sets(
    restored: Restored, everyone: Embedded, studies: Embedded, sets: CandidateSets, settings: dict[str, Any], *,
    resamples: int, seed: int, k: Sequence[int],
) -> tuple[dict[str, Any], dict[str, float]]:  # fmt: skip
    """The report of given candidates, printed and as JSON, and its metrics."""
    target = settings["target"]
    having = everyone.select(everyone.present[target])
    report = retrieval_in_sets(
        scores=_scores(restored, studies, settings["query"], having.embeddings[target]).numpy(),
        queries=studies.study_ids,
        candidates=having.study_ids,
        sets=sets,
        patients=dict(zip(everyone.study_ids, everyone.patient_ids, strict=True)),
        resamples=resamples,
        seed=seed,
        k=k,
    )
    print_candidate_sets(report, Console())
    return {**as_json(report), **settings}, _recalls(f"{settings['split']}/candidate_sets", report.given)


def _query(restored: Restored, query: list[str] | None, *, besides: str) -> list[str]:
    known = list(restored.data.modalities)
    if besides not in known:
        raise ValueError(f"got target {besides!r}, the checkpoint has {known}; set the target or the prompts' modality")
    names = [name for name in known if name != besides] if query is None else query
    if not names or besides in names or not set(names) <= set(known):
        raise ValueError(f"got query {names}, expected some of {[n for n in known if n != besides]}; set `--query`")
    return names


def _having(studies: Embedded, names: Sequence[str], *, complete: bool) -> Embedded:
    """The studies with any, or with every, query modality."""
    present = torch.stack([studies.present[name] for name in names])
    chosen = studies.select(present.all(dim=0) if complete else present.any(dim=0))
    if not chosen.study_ids:
        raise ValueError(f"no study has the query modalities {list(names)}; set `--query`")
    return chosen


def _scores(
    restored: Restored, studies: Embedded, names: Sequence[str], candidates: Float[Tensor, "C d"]
) -> Float[Tensor, "N C"]:
    objective = restored.task_of(ContrastivePretraining).objective
    with torch.inference_mode():
        return objective.score({name: studies.embeddings[name] for name in names}, candidates, studies.present)


def _varied(names: Sequence[str], texts: int, vary: str | None) -> str | None:
    """The query modality to vary, if any."""
    if texts == 0 and vary is None:
        return None
    if texts < 2:
        raise ValueError(f"got texts {texts} with vary {vary!r}, expected at least 2 variations; set `--texts`")
    if vary is None and len(names) > 1:
        raise ValueError(f"got several query modalities {list(names)} and texts {texts}; set `--vary` to one of them")
    if vary is not None and vary not in names:
        raise ValueError(f"got vary {vary!r}, expected one of the query modalities {list(names)}; set `--vary`")
    return vary or names[0]


def _variations(
    restored: Restored, split: str, studies: Embedded, name: str, texts: int, seed: int
) -> Float[Tensor, "V N d"]:
    """Embeddings of each variation; zeros where a study lacks the modality."""
    rows = studies.present[name]
    if not rows.any():
        raise ValueError(f"no study of the split has both the target and modality {name!r}; set `--vary`")
    by_id = {study.study_id: study for study in restored.data.studies(split)}
    varied = embed_variations(
        restored, name, [by_id[study_id] for study_id in studies.select(rows).study_ids], texts=texts, seed=seed
    )
    return varied.new_zeros(texts, len(rows), varied.shape[-1]).index_copy(1, rows.nonzero()[:, 0], varied)


def _recalls(name: str, result: RetrievalResult) -> dict[str, float]:
    return {
        f"{name}_recall_at_{first}": accuracy.value for first, accuracy in result.recall.items() if accuracy is not None
    }
