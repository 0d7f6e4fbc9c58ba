"""Evaluation reports: output to a file and to the training run, and the leakage check before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mlflow.exceptions import MlflowException

from polyclinic.cohort.leakage.overlap import Overlap, find_overlap
from polyclinic.files.results import write_result
from polyclinic.system.terminal import remark
from polyclinic.tracking import RunLogger, log_figure, log_json, log_tags, log_text
from polyclinic.tracking.uri import without_password
from polyclinic.training.restore import Restored


def write_report(
    restored: Restored,
    name: str,
    content: Mapping[str, Any],
    metrics: Mapping[str, float],
    figures: Mapping[str, Figure],
    path: Path | None,
    *,
    overlap: Overlap,
    page: str | None = None,
) -> None:
    """Write a report to a file, and log it to the run of the checkpoint.

    Args:
        restored: evaluated checkpoint.
        name: name of the report.
        content: report as plain values.
        metrics: metrics of the run; NaN is not logged.
        figures: figures by name.
        path: file for the report; None for the run only.
        overlap: overlap with the training exposure, which is added to the report.
        page: report as HTML.

    Raises:
        ValueError: the file cannot be written; ``refuse_unwritable`` checks this before the evaluation.
    """
    content = {**content, "overlap": overlap.as_record()}
    if path is not None:
        write_result(path, content)
    if restored.run_id is None:
        return
    logger = RunLogger(tracking_uri=restored.tracking_uri, run_id=restored.run_id, guest=True)
    if not _has_run(logger):
        address = without_password(str(restored.tracking_uri))
        printed = f"note: the run of the checkpoint is not at {address}, so the report is not logged to it"
        remark(printed)
        return
    logger.log_metrics({key: value for key, value in metrics.items() if value == value})
    log_tags(logger, {f"overlap.{name}.{key}": value for key, value in overlap.tags().items()})
    log_json(logger, content, f"evaluation/{name}.json")
    if page is not None:
        log_text(logger, page, f"evaluation/{name}.html")
    for figure_name, figure in figures.items():
        log_figure(logger, figure, f"evaluation/{figure_name}.png")
    logger.finalize("success")


def _has_run(logger: RunLogger) -> bool:
    """Return whether the run still exists: a checkpoint may have left the machine that trained it."""
    try:
        _ = logger.experiment
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def check_overlap(restored: Restored, split: str, *chosen: str, allowed: bool) -> Overlap:
    """Return the overlap of the evaluated studies with the training exposure of a checkpoint and its ancestors.

    Args:
        restored: checkpoint and cohort.
        split: evaluated split; studies of ``val`` may have been used for model selection, as checkpoints are selected
            there anyway.
        chosen: splits on which thresholds are selected.
        allowed: whether overlap only causes a warning.

    Raises:
        ValueError: studies overlap, and ``allowed`` is False.
    """
    selection = {*chosen, *({split} & {"val"})}
    overlap = find_overlap(
        restored.seen, restored.data.cohort, restored.data.modalities, tested={split} - selection, chosen=selection,
        folder=restored.data.content_index_folder, allowed=allowed,
    )  # fmt: skip
    overlap.refuse()
    for statement in overlap.statements:
        remark(f"warning: {statement}")
    return overlap
