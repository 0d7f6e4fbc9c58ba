"""``polyclinic evaluate reconstruction | probe``: what masked pretraining learned."""

from pathlib import Path

import torch
from rich.console import Console

from polyclinic.evaluation.embedding import split_batches
from polyclinic.evaluation.keep import keep_report
from polyclinic.evaluation.probe import Features, frozen_features, probe_report, probe_scores
from polyclinic.evaluation.reconstruction import MODEL, mean_fills, reconstruction_report
from polyclinic.evaluation.tables import as_json, print_probe, print_reconstruction
from polyclinic.nn import Encoder
from polyclinic.restore import Restored, restore
from polyclinic.tasks import MaskedPretraining


def reconstruction(
    checkpoint: Path,
    cohort: Path | None = None,
    split: str = "test",
    resamples: int = 1000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Errors of a masked autoencoder beside naive guesses: polyclinic evaluate reconstruction last.ckpt

    Args:
        checkpoint: of a masked run.
        cohort: in place of the one trained on; its training split gives the mean fill.
        split: which studies.
        resamples: of patients, for the intervals.
        seed: of the resamples.
        json: file to write the report to.
    """
    restored = restore(checkpoint, cohort=cohort)
    task = restored.task_of(MaskedPretraining)
    fills = mean_fills(task, split_batches(restored, "train"))
    report = reconstruction_report(task, split_batches(restored, split), fills, resamples=resamples, seed=seed)
    console = Console()
    print_reconstruction(report, console)
    metrics = {
        f"{split}/{method.replace(' ', '_')}_loss/{result.name}": error.value
        for result in report.results
        for method, error in result.errors.items()
        if MODEL in result.errors
    }
    keep_report(restored, "reconstruction", {**as_json(report), "split": split}, metrics, {}, json)
    console.print(f"next: polyclinic evaluate probe {checkpoint} {next(iter(task.encoders))}", soft_wrap=True)


def probe(
    checkpoint: Path,
    modality: str,
    findings: list[str] | None = None,
    cohort: Path | None = None,
    split: str = "test",
    deviation: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Logistic regression on a frozen encoder, and on random weights: polyclinic evaluate probe last.ckpt ecg

    Args:
        checkpoint: of any run.
        modality: whose encoder to probe.
        findings: label columns; all of them unless set.
        cohort: in place of the one trained on.
        split: which studies are scored; the probe is fitted on train, its penalty chosen on val.
        deviation: see the mean and deviation of the tokens, in place of what the encoder pools.
        resamples: of patients, for the intervals.
        seed: of the resamples, and of the random weights.
        json: file to write the report to.
    """
    trained = restore(checkpoint, cohort=cohort)
    if modality not in trained.data.modalities:
        raise ValueError(f"got modality {modality!r}, the checkpoint has {list(trained.data.modalities)}; set it")
    known = list(trained.data.cohort.labels)
    names = known if findings is None else findings
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"got finding {unknown[0]!r}, the cohort has labels {known}; set `--findings`")
    columns = [known.index(name) for name in names]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random = restore(checkpoint, cohort=cohort, trained=False)
    parts = [_features(one, modality, columns, split, deviation) for one in (trained, random)]
    report = probe_report(
        modality, [probe_scores(*part) for part in parts], parts[0][-1], names, resamples=resamples, seed=seed
    )
    console = Console()
    print_probe(report, console)
    metrics = {
        f"{split}/probe_macro_auroc/{modality}": report.trained.macro_auroc,
        f"{split}/probe_gain/{modality}": report.gain,
    }
    keep_report(
        trained, f"probe_{modality}", {**as_json(report), "split": split, "deviation": deviation}, metrics, {}, json
    )
    console.print(f"next: polyclinic fit -c experiments/masked/transfer.yaml --weights {checkpoint}", soft_wrap=True)


def _features(restored: Restored, modality: str, columns: list[int], split: str, deviation: bool) -> list[Features]:
    """What the probe sees of train, val and the split that is scored."""
    encoder = restored.task.get_submodule(f"encoders.{modality}")
    assert isinstance(encoder, Encoder)
    told = [
        frozen_features(encoder, modality, split_batches(restored, name), deviation=deviation)
        for name in ("train", "val", split)
    ]
    return [one._replace(labels=one.labels[:, columns]) for one in told]
