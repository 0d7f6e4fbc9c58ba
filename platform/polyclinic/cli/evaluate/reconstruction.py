"""``polyclinic evaluate reconstruction``: compare a masked autoencoder with naive baselines."""

from pathlib import Path

from polyclinic.cli.report import check_overlap, write_report
from polyclinic.evaluation.embedding import split_batches
from polyclinic.evaluation.probing.reconstruction import MODEL, mean_fills, reconstruction_report
from polyclinic.evaluation.tables import as_json, print_reconstruction
from polyclinic.files.results import refuse_unwritable
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
    """Compare a masked autoencoder with naive baselines: polyclinic evaluate reconstruction last.ckpt

    Args:
        checkpoint: checkpoint of a masked run.
        cohort: cohort.yaml to use instead of the training cohort; its training split gives the mean baseline.
        split: split whose studies to evaluate.
        resamples: number of bootstrap resamples of patients, for the intervals.
        seed: seed of the resamples.
        allow_overlap: whether to include studies from training, and report the overlap.
        json: file for the report.
    """
    refuse_unwritable(json)
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
