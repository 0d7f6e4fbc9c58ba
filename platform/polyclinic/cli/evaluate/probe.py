"""``polyclinic evaluate probe``: predict findings from a frozen encoder."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from polyclinic.cli.options import ReportOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.data.labels import patient_fraction
from polyclinic.evaluation.embedding import split_batches
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.probing.embedding_cache import EmbeddingOrigin, cached_embeddings
from polyclinic.evaluation.probing.neighbours import neighbour_scores
from polyclinic.evaluation.probing.probe import (
    Features,
    FrozenEmbeddings,
    frozen_embeddings,
    probe_report,
    probe_scores,
)
from polyclinic.evaluation.tables import as_json, print_probe
from polyclinic.files.digest import file_sha256
from polyclinic.files.results import refuse_unwritable
from polyclinic.nn import Encoder
from polyclinic.system.names import refuse_unknown
from polyclinic.system.terminal import Console
from polyclinic.training.restore import Restored, restore

_SCORES = {"linear": probe_scores, "neighbours": neighbour_scores}


def probe(
    checkpoint: Path,
    modality: str,
    options: ReportOptions,
    findings: list[str] | None = None,
    deviation: bool = False,
    method: Literal["linear", "neighbours"] = "linear",
    fraction: float = 1.0,
    cache: Path | None = None,
) -> None:
    """Probe a frozen encoder for findings, against random weights: polyclinic evaluate probe last.ckpt ecg

    Args:
        checkpoint: checkpoint of any run.
        modality: modality whose encoder to probe.
        options: studies to evaluate, and the file for the report.
        findings: label columns; all findings unless set.
        deviation: whether to probe mean and standard deviation of the tokens instead of the pooled embedding.
        method: logistic regression, or a vote of the nearest training studies.
        fraction: share of the training patients to use; a larger share includes the patients of a smaller one.
        cache: folder for embeddings, reused by the next probe of the same encoder and cohort.
    """
    refuse_unwritable(options.json)
    # Called without patients to refuse an invalid fraction before the checkpoint is read.
    patient_fraction([], fraction)
    trained = restore(checkpoint, cohort=options.cohort)
    refuse_unknown("modality", [modality], trained.data.modalities, "set `modality` to one of the checkpoint")
    names, columns = _columns(trained, findings)
    overlap = check_overlap(trained, options.split, "val", allowed=options.allow_overlap)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        random = restore(checkpoint, cohort=options.cohort, trained=False)
    origin = EmbeddingOrigin(
        checkpoint=file_sha256(checkpoint), cohort=trained.data.cohort.fingerprint, modality=modality,
        split=options.split, deviation=deviation, random_seed=None,
    )  # fmt: skip
    console = Console()
    parts = [
        _features(restored, replace(origin, random_seed=random_seed), columns, fraction, cache, console)
        for restored, random_seed in ((trained, None), (random, options.seed))
    ]
    report = probe_report(
        modality, [_SCORES[method](*part) for part in parts], parts[0][-1], names, resamples=options.resamples,
        seed=options.seed, method=method,
    )  # fmt: skip
    print_probe(report, console)
    patients = parts[0][0].patients
    settings = {"split": options.split, "deviation": deviation, "fraction": fraction}
    content = {**as_json(report), **settings, "training": {"studies": len(patients), "patients": len(set(patients))}}
    name = "probe" if method == "linear" else method
    part = "" if fraction == 1 else f"/{fraction:g}"
    metrics = {
        f"{options.split}/{name}_macro_auroc/{modality}{part}": Estimate(
            report.trained.macro_auroc, report.trained.macro_ci95
        ),
        f"{options.split}/{name}_gain/{modality}{part}": Estimate(report.gain, report.gain_ci95),
    }
    report_name = f"{name}_{modality}{part.replace('/', '_')}"
    write_report(
        trained, report_name, content, metrics, {}, options.json, overlap=overlap,
        following=("polyclinic", "fit", "-c", "heads.yaml", "--weights", checkpoint),
    )  # fmt: skip


def _columns(restored: Restored, findings: list[str] | None) -> tuple[list[str], list[int]]:
    """Return the names and label columns of the requested findings."""
    labels, targets = list(restored.data.labels), restored.data.targets
    names = [target.name for target in targets if target.kind == "finding"] if findings is None else findings
    refuse_unknown("finding", names, labels, "set `--findings` to labels of the cohort")
    return names, [labels.index(name) for name in names]


def _features(
    restored: Restored,
    origin: EmbeddingOrigin,
    columns: list[int],
    fraction: float,
    cache: Path | None,
    console: Console,
) -> list[Features]:
    """Return the features of a fraction of train, of val, and of the scored split."""
    train, *others = (
        _embeddings(restored, replace(origin, split=split), cache, console).labelled(
            restored.data.studies(split), columns
        )
        for split in ("train", "val", origin.split)
    )
    return [train.select(patient_fraction(train.patients, fraction)), *others]


def _embeddings(restored: Restored, origin: EmbeddingOrigin, cache: Path | None, console: Console) -> FrozenEmbeddings:
    embed = partial(_embed, restored, origin)
    if cache is None:
        return embed()
    embeddings, was_read = cached_embeddings(cache, origin, embed)
    weights = "trained" if origin.random_seed is None else "random"
    source = "read from the cache" if was_read else "embedded, and saved in the cache"
    console.print(f"{origin.modality}, {origin.split}, {weights} weights: {source}")
    return embeddings


def _embed(restored: Restored, origin: EmbeddingOrigin) -> FrozenEmbeddings:
    encoder = restored.task.get_submodule(f"encoders.{origin.modality}")
    assert isinstance(encoder, Encoder)
    batches = split_batches(restored, origin.split)
    return frozen_embeddings(encoder, origin.modality, batches, deviation=origin.deviation)
