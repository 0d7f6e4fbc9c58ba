"""``polyclinic evaluate linkage``: match files of two modalities by patient."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from polyclinic.cli.options import ReportOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.embedding import EmbeddedSplit, embed_split
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.retrieval.linkage import (
    Files,
    Matching,
    PrecisionRecall,
    choose_threshold,
    common,
    linkage_report,
    linkage_scores,
    one_to_one,
    precision_recall,
    same_patient,
)
from polyclinic.evaluation.tables import as_json, print_linkage
from polyclinic.files.atomic import atomic_file
from polyclinic.files.results import refuse_unwritable
from polyclinic.system.names import refuse_unknown
from polyclinic.system.terminal import Console
from polyclinic.tasks import ContrastivePretraining
from polyclinic.training.restore import Restored, restore

_THRESHOLD_SPLIT = "val"


def linkage(
    checkpoint: Path,
    first: str,
    second: str,
    options: ReportOptions,
    unpaired: float = 0.0,
    precision: float | None = None,
    pairs: Path | None = None,
) -> None:
    """Match unlabelled files of two modalities: polyclinic evaluate linkage last.ckpt xray ecg --unpaired 0.3

    Each study with both modalities gives two anonymous files. Files are matched one to one, and pairs with scores
    above a threshold, which is selected on the validation split, are asserted.

    Args:
        checkpoint: checkpoint of a contrastive run.
        first: first modality.
        second: second modality.
        options: studies to evaluate, and the file for the report.
        unpaired: share of the second modality's files to omit, so that some files of the first have no counterpart.
        precision: precision to reach on the validation split; the threshold of the best F1 unless set.
        pairs: CSV file for the asserted pairs.
    """
    refuse_unwritable(options.json)
    refuse_unwritable(pairs, "--pairs")
    restored = restore(checkpoint, cohort=options.cohort)
    _check(restored, (first, second), options.split, unpaired, precision)
    overlap = check_overlap(restored, options.split, _THRESHOLD_SPLIT, allowed=options.allow_overlap)
    validation, test = (
        _matched(restored, name, first, second, unpaired, options.seed) for name in (_THRESHOLD_SPLIT, options.split)
    )
    report = linkage_report(
        matching=test.matching, first=test.first, second=test.second,
        threshold=choose_threshold(_curve(validation), precision), resamples=options.resamples, seed=options.seed,
    )  # fmt: skip
    console = Console()
    print_linkage(report, first, second, console)
    if pairs is not None:
        _write_pairs(pairs, (first, second), test, report.threshold)
    settings = {"first": first, "second": second, "split": options.split, "unpaired": unpaired}
    quality = report.by_patient
    metrics = {
        f"{options.split}/linkage_{name}/{first}-{second}": Estimate(
            getattr(quality, name), getattr(quality, f"{name}_ci95")
        )
        for name in ("precision", "recall", "f1")
    }
    figures = {f"linkage_{first}-{second}": _curve_figure(report.curve)}
    content = {**as_json(report), **settings}
    write_report(
        restored, f"linkage_{first}-{second}", content, metrics, figures, options.json, overlap=overlap,
        following=("polyclinic", "evaluate", "retrieval", checkpoint, second, "--query", f"[{first}]"),
    )  # fmt: skip


class _Matched(NamedTuple):
    first: Files
    second: Files
    matching: Matching


def _check(restored: Restored, names: tuple[str, str], split: str, unpaired: float, precision: float | None) -> None:
    modalities = list(restored.data.modalities)
    refuse_unknown("modality", names, modalities, "set two modalities of the checkpoint")
    if names[0] == names[1]:
        raise ValueError(f"got modality {names[0]!r} twice, expected two different ones of {modalities}; set another")
    if split == _THRESHOLD_SPLIT:
        raise ValueError(f"got split {split!r}, on which the threshold is selected; set `--split` to another split")
    if not 0 <= unpaired < 1:
        raise ValueError(f"got unpaired {unpaired}, expected a share from 0 to below 1; set `--unpaired`")
    if precision is not None and not 0 < precision <= 1:
        raise ValueError(f"got precision {precision}, expected a share above 0 and at most 1; set `--precision`")


def _matched(restored: Restored, split: str, first: str, second: str, unpaired: float, seed: int) -> _Matched:
    """Match the files of the studies that have both modalities, those of the second in random order."""
    studies = embed_split(restored, split)
    both = studies.present[first] & studies.present[second]
    if not both.any():
        raise ValueError(f"no study of split {split!r} has both {first!r} and {second!r}; set two others")
    studies = studies.select(both)
    count = len(studies.study_ids)
    omitted = min(round(unpaired * count), count - 1)
    order = np.random.default_rng(seed).permutation(count)[omitted:]
    scores = linkage_scores(*_scores_both_ways(restored, studies, first, second, order))
    return _Matched(
        Files(studies.study_ids, studies.patient_ids),
        Files([studies.study_ids[row] for row in order], [studies.patient_ids[row] for row in order]),
        one_to_one(scores),
    )


@torch.inference_mode()
def _scores_both_ways(
    restored: Restored, studies: EmbeddedSplit, first: str, second: str, order: np.ndarray
) -> tuple[Float[torch.Tensor, "N M"], Float[torch.Tensor, "M N"]]:
    objective = restored.task_of(ContrastivePretraining).objective
    rows, columns = studies.embeddings[first], studies.embeddings[second][torch.from_numpy(order)]
    return objective.score({first: rows}, columns), objective.score({second: columns}, rows)


def _curve(split: _Matched) -> PrecisionRecall:
    correct = same_patient(split.matching, split.first, split.second)
    return precision_recall(split.matching.scores, correct, common(split.first.patient_ids, split.second.patient_ids))


def _write_pairs(path: Path, names: tuple[str, str], split: _Matched, threshold: float) -> None:
    """Write one row per asserted pair, in descending order of score."""
    rows, columns, scores = split.matching
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"{name}_study_id" for name in names), "score"])
        for pair in np.argsort(-scores, kind="stable"):
            if scores[pair] >= threshold:
                ids = (split.first.study_ids[rows[pair]], split.second.study_ids[columns[pair]])
                writer.writerow([*ids, repr(float(scores[pair]))])


def _curve_figure(curve: PrecisionRecall) -> Figure:
    figure = Figure(figsize=(5.5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.step(curve.recall, curve.precision, where="post", color="#0072B2")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="recall", ylabel="precision", title="pairs of one patient")
    axes.grid(alpha=0.25)
    return figure
