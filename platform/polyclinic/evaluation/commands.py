"""``polyclinic evaluate zeroshot | retrieval | classifier``, and the commands of ``pretraining_commands``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from jsonargparse import auto_cli
from rich.console import Console
from torch import Tensor

from polyclinic.evaluation.auroc import roc_curve
from polyclinic.evaluation.embedding import (
    Embedded,
    classify_split,
    embed_split,
    embed_texts,
)
from polyclinic.evaluation.keep import keep_report
from polyclinic.evaluation.pretraining_commands import probe, reconstruction
from polyclinic.evaluation.prompts import PromptFile, load_prompts
from polyclinic.evaluation.retrieval import RetrievalReport, retrieval_report
from polyclinic.evaluation.tables import as_json, print_retrieval, print_zero_shot
from polyclinic.evaluation.zeroshot import ZeroShotReport, finding_scores, prompt_spread, zero_shot_report
from polyclinic.restore import Restored, restore
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tracking import modality_gap, roc_curves, similarity_matrix

_SHOWN = 40


def main(argv: Sequence[str]) -> None:
    """Run one of the evaluation's subcommands."""
    commands = {
        "zeroshot": zeroshot,
        "retrieval": retrieval,
        "classifier": classifier,
        "reconstruction": reconstruction,
        "probe": probe,
    }
    auto_cli(dict[str, Any](commands), args=list(argv[1:]), prog="polyclinic evaluate", exit_on_error=False)


def zeroshot(
    checkpoint: Path,
    prompts: Path,
    cohort: Path | None = None,
    split: str = "test",
    query: list[str] | None = None,
    complete: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Classify findings by prompts: polyclinic evaluate zeroshot last.ckpt experiments/phantom/prompts.yaml

    Args:
        checkpoint: of a contrastive run.
        prompts: versioned prompt file.
        cohort: in place of the one trained on.
        split: which studies.
        query: modalities that speak; all but the prompts' own unless set.
        complete: only studies that have every query modality, instead of those that have any.
        resamples: of patients, for the intervals.
        seed: of the resamples.
        json: file to write the report to.
    """
    restored, file = restore(checkpoint, cohort=cohort), load_prompts(prompts)
    names = _query(restored, query, besides=file.modality)
    studies = _having(embed_split(restored, split), names, complete=complete)
    candidates = embed_texts(restored, file.modality, file.texts())
    scores = _scores(restored, studies, names, candidates)
    labels = _labels(restored, studies, list(file.findings))
    report, table = _zero_shot(file, scores, labels, studies.patient_ids, resamples, seed)
    curves = {
        finding.name: (*roc_curve(table[:, place], labels[:, place].numpy())[:2], finding.auroc)
        for place, finding in enumerate(report.findings)
        if finding.auroc == finding.auroc
    }
    console = Console()
    print_zero_shot(report, console)
    settings = {"query": names, "split": split, "complete": complete, "prompts_sha256": file.sha256}
    keep_report(
        restored, "zeroshot", {**as_json(report), **settings}, {f"{split}/zeroshot_macro_auroc": report.macro_auroc},
        {"zeroshot_roc": roc_curves(curves)}, json,
    )  # fmt: skip
    console.print("next: polyclinic evaluate retrieval --help")


def retrieval(
    checkpoint: Path,
    target: str,
    cohort: Path | None = None,
    split: str = "test",
    query: list[str] | None = None,
    complete: bool = False,
    candidates: int = 10,
    resamples: int = 1000,
    seed: int = 0,
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
        resamples: of patients, for the intervals.
        seed: of the candidates and the resamples.
        json: file to write the report to.
    """
    restored = restore(checkpoint, cohort=cohort)
    names = _query(restored, query, besides=target)
    studies = _having(embed_split(restored, split), names, complete=complete)
    studies = studies.select(studies.present[target])
    scores = _scores(restored, studies, names, studies.embeddings[target])
    report = retrieval_report(
        scores=scores.numpy(), patient_ids=studies.patient_ids, candidates=candidates, resamples=resamples, seed=seed
    )
    console = Console()
    print_retrieval(report, console)
    figures = {
        "similarity": similarity_matrix(scores[:_SHOWN, :_SHOWN].numpy(), studies.study_ids[:_SHOWN]),
        "modality_gap": modality_gap(
            {name: value[studies.present[name]].numpy() for name, value in studies.embeddings.items()}
        ),
    }
    content = {**as_json(report), "query": names, "target": target, "split": split, "complete": complete}
    keep_report(restored, "retrieval", content, {f"{split}/retrieval_top1": _top1(report)}, figures, json)
    console.print("next: compare runs in the MLflow UI")


def classifier(
    checkpoint: Path,
    cohort: Path | None = None,
    split: str = "test",
    resamples: int = 1000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """AUROC of a model trained on labels: polyclinic evaluate classifier last.ckpt

    Args:
        checkpoint: of a downstream run.
        cohort: in place of the one trained on.
        split: which studies.
        resamples: of patients, for the intervals.
        seed: of the resamples.
        json: file to write the report to.
    """
    restored = restore(checkpoint, cohort=cohort)
    logits, labels, patients = classify_split(restored, split)
    report = zero_shot_report(
        scores=logits, labels=labels, patient_ids=patients, findings=restored.data.cohort.labels,
        resamples=resamples, seed=seed,
    )  # fmt: skip
    console = Console()
    print_zero_shot(report, console)
    metrics = {f"{split}/classifier_macro_auroc": report.macro_auroc}
    keep_report(restored, "classifier", {**as_json(report), "split": split}, metrics, {}, json)
    console.print("next: polyclinic evaluate zeroshot --help")


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


def _labels(restored: Restored, studies: Embedded, findings: Sequence[str]) -> Float[Tensor, "N F"]:
    known = restored.data.cohort.labels
    if unknown := [name for name in findings if name not in known]:
        raise ValueError(f"prompts for {unknown[0]!r}, which is no label of the cohort; its labels are {list(known)}")
    return studies.labels[:, [known.index(name) for name in findings]]


def _zero_shot(
    file: PromptFile,
    scores: Float[Tensor, "N C"],
    labels: Float[Tensor, "N F"],
    patients: Sequence[str],
    resamples: int,
    seed: int,
) -> tuple[ZeroShotReport, Float[Any, "N F"]]:
    columns, spreads = [], []
    for place, (positive, negative) in enumerate(file.columns().values()):
        columns.append(torch.from_numpy(finding_scores(scores[:, positive], scores[:, negative], file.score_rule)))
        spreads.append(prompt_spread(scores[:, positive], scores[:, negative], labels[:, place]))
    table = torch.stack(columns, dim=1).numpy()
    report = zero_shot_report(
        scores=table, labels=labels, patient_ids=patients, findings=list(file.findings),
        resamples=resamples, seed=seed, spreads=spreads,
    )  # fmt: skip
    return report, table


def _top1(report: RetrievalReport) -> float:
    return float(report.sampled.top1.value)
