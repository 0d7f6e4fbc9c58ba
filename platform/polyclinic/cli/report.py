"""Where a report goes: to a file that the user names, and into the run that trained the checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from polyclinic.cohort.leakage.overlap import Overlap, find_overlap
from polyclinic.system.terminal import Console
from polyclinic.tracking import RunLogger, log_figure, log_json, log_tags, log_text
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
    """Write the report, and what of its studies was seen before, to a file and into the run of the checkpoint."""
    content = {**content, "overlap": overlap.told()}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if restored.run_id is None:
        return
    logger = RunLogger(tracking_uri=restored.tracking_uri, run_id=restored.run_id, guest=True)
    logger.log_metrics({key: value for key, value in metrics.items() if value == value})
    log_tags(logger, {f"overlap.{name}.{key}": value for key, value in overlap.tags().items()})
    log_json(logger, content, f"evaluation/{name}.json")
    if page is not None:
        log_text(logger, page, f"evaluation/{name}.html")
    for figure, drawn in figures.items():
        log_figure(logger, drawn, f"evaluation/{figure}.png")
    logger.finalize("success")


def check_overlap(restored: Restored, split: str, *chosen: str, allowed: bool) -> Overlap:
    """What a checkpoint and its ancestors saw before of the studies that it is about to be measured on.

    Args:
        restored: the checkpoint, and the cohort.
        split: that is measured; on ``val`` checkpoints are chosen, so that having been chosen there is no harm.
        chosen: splits on which thresholds are chosen.
        allowed: whether a report on such studies is wanted.

    Raises:
        ValueError: they saw some, which is not allowed.
    """
    choosing = {*chosen, *({split} & {"val"})}
    overlap = find_overlap(
        restored.seen, restored.data.cohort, restored.data.modalities, tested={split} - choosing, chosen=choosing,
        folder=restored.data.prepared_folder, allowed=allowed,
    )  # fmt: skip
    overlap.refuse()
    for statement in overlap.statements:
        Console().print(f"warning: {statement}", markup=False, soft_wrap=True)
    return overlap
