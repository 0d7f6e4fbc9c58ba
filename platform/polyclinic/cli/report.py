"""Evaluation reports: output to a file and to the training run, and the leakage check before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mlflow.exceptions import MlflowException

from polyclinic.cohort.leakage.overlap import Overlap, find_overlap
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.files.results import write_result
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import remark
from polyclinic.tracking import RunLogger, log_figure, log_json, log_section, log_text
from polyclinic.tracking.environment import short_command
from polyclinic.tracking.note import NEXT, code, code_block, metric_list, paragraphs, picture_list
from polyclinic.tracking.uri import without_password
from polyclinic.training.restore import Restored


def write_report(
    restored: Restored,
    name: str,
    content: Mapping[str, Any],
    metrics: Mapping[str, Estimate],
    figures: Mapping[str, Figure],
    path: Path | None,
    *,
    overlap: Overlap,
    following: Sequence[object] = (),
    page: str | None = None,
) -> None:
    """Write a report to a file, log it to the run of the checkpoint, and print the next command.

    Args:
        restored: evaluated checkpoint.
        name: name of the report.
        content: report as plain values.
        metrics: metrics of the run, with their intervals for its description; NaN is not logged.
        figures: figures by name.
        path: file for the report; None for the run only.
        overlap: overlap with the training exposure, which is added to the report.
        following: words of the next command; empty for none.
        page: report as HTML.

    Raises:
        ValueError: the file cannot be written; ``refuse_unwritable`` checks this before the evaluation.
    """
    content = {**content, "overlap": overlap.as_record()}
    if path is not None:
        write_result(path, content)
    if (logger := _logger(restored)) is not None:
        defined = {key: estimate for key, estimate in metrics.items() if estimate.value == estimate.value}
        logger.log_metrics({key: estimate.value for key, estimate in defined.items()})
        log_json(logger, content, f"evaluation/{name}.json")
        if page is not None:
            log_text(logger, page, f"evaluation/{name}.html")
        for figure_name, figure in figures.items():
            log_figure(logger, figure, f"evaluation/{figure_name}.png")
        _describe(logger, name, defined, overlap, following)
        logger.finalize("success")
    if following:
        print_next(*following)


def _logger(restored: Restored) -> RunLogger | None:
    """Return a logger that adds to the run of a checkpoint; None, after a note, where the run is not found."""
    if restored.run_id is None:
        return None
    logger = RunLogger(tracking_uri=restored.tracking_uri, run_id=restored.run_id, guest=True)
    if _has_run(logger):
        return logger
    address = without_password(str(restored.tracking_uri))
    printed = f"note: the run of the checkpoint is not at {address}, so the report is not logged to it"
    remark(printed)
    return None


def _describe(
    logger: RunLogger, name: str, metrics: Mapping[str, Estimate], overlap: Overlap, following: Sequence[object]
) -> None:
    """Add a section on the evaluation to the description of the run, and replace the next command."""
    text = paragraphs(
        metric_list({key: (value, (ci95.low, ci95.high)) for key, (value, ci95) in metrics.items()}),
        *(f"**Warning:** {statement}" for statement in overlap.statements),
        picture_list(logger.pictures),
        f"Report: {code(f'evaluation/{name}.json')}. Command:",
        code_block(short_command()),
    )
    log_section(logger, f"Evaluation: {name}", text)
    if following:
        log_section(logger, NEXT, code_block(short_command(following)))


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
