"""``polyclinic evaluate reconstruction``: what masked pretraining fills in, beside naive guesses."""

from pathlib import Path

from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.embedding import split_batches
from polyclinic.evaluation.probing.reconstruction import MODEL, mean_fills, reconstruction_report
from polyclinic.evaluation.tables import as_json, print_reconstruction
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tasks import MaskedPretraining
from polyclinic.training.restore import restore


def reconstruction(
    checkpoint: Path,
    cohort: Path | None = None,
    split: str = "test",
    resamples: int = 1000,
    seed: int = 0,
    allow_overlap: bool = False,
    json: Path | None = None,
) -> None:
    """Errors of a masked autoencoder beside naive guesses: polyclinic evaluate reconstruction last.ckpt

    Args:
        checkpoint: of a masked run.
        cohort: in place of the one trained on; its training split gives the mean fill.
        split: which studies.
        resamples: of patients, for the intervals.
        seed: of the resamples.
        allow_overlap: whether to measure on studies that were seen before, too, and say so.
        json: file to write the report to.
    """
    restored = restore(checkpoint, cohort=cohort)
    task = restored.task_of(MaskedPretraining)
    overlap = check_overlap(restored, split, allowed=allow_overlap)
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
    content = {**as_json(report), "split": split}
    write_report(restored, "reconstruction", content, metrics, {}, json, overlap=overlap)
    print_next("polyclinic", "evaluate", "probe", checkpoint, next(iter(task.encoders)))
