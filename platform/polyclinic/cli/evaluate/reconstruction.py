"""``polyclinic evaluate reconstruction``: compare a masked autoencoder with naive baselines."""

from pathlib import Path

from polyclinic.cli.options import ReportOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.embedding import split_batches
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.probing.reconstruction import MODEL, mean_fills, reconstruction_report
from polyclinic.evaluation.tables import as_json, print_reconstruction
from polyclinic.files.results import refuse_unwritable
from polyclinic.system.terminal import Console
from polyclinic.tasks import MaskedPretraining
from polyclinic.training.restore import restore


def reconstruction(
    checkpoint: Path,
    options: ReportOptions,
) -> None:
    """Compare a masked autoencoder with naive baselines: polyclinic evaluate reconstruction last.ckpt

    Args:
        checkpoint: checkpoint of a masked run.
        options: studies to evaluate, and the file for the report.
    """
    refuse_unwritable(options.json)
    restored = restore(checkpoint, cohort=options.cohort)
    task = restored.task_of(MaskedPretraining)
    overlap = check_overlap(restored, options.split, allowed=options.allow_overlap)
    fills = mean_fills(task, split_batches(restored, "train"))
    report = reconstruction_report(
        task, split_batches(restored, options.split), fills, resamples=options.resamples, seed=options.seed
    )
    console = Console()
    print_reconstruction(report, console)
    metrics = {
        f"{options.split}/{method.replace(' ', '_')}_loss/{result.name}": Estimate(error.value, error.ci95)
        for result in report.results
        for method, error in result.errors.items()
        if MODEL in result.errors
    }
    content = {**as_json(report), "split": options.split}
    write_report(
        restored, "reconstruction", content, metrics, {}, options.json, overlap=overlap,
        following=("polyclinic", "evaluate", "probe", checkpoint, next(iter(task.encoders))),
    )  # fmt: skip
