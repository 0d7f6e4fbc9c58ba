"""Where a report goes: to a file that the user names, and into the run that trained the checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from polyclinic.restore import Restored
from polyclinic.tracking import RunLogger, log_figure, log_json, log_text


def keep_report(
    restored: Restored,
    name: str,
    content: Mapping[str, Any],
    metrics: Mapping[str, float],
    figures: Mapping[str, Figure],
    path: Path | None,
    *,
    page: str | None = None,
) -> None:
    """Write the report to a file and into the run that trained the checkpoint."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if restored.run_id is None:
        return
    logger = RunLogger(tracking_uri=restored.tracking_uri, run_id=restored.run_id)
    logger.log_metrics({key: value for key, value in metrics.items() if value == value})
    log_json(logger, dict(content), f"evaluation/{name}.json")
    if page is not None:
        log_text(logger, page, f"evaluation/{name}.html")
    for figure, drawn in figures.items():
        log_figure(logger, drawn, f"evaluation/{figure}.png")
    logger.finalize("success")
