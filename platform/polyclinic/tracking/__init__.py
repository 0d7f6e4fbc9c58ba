"""MLflow tracking: life cycle, configuration, artifacts and figures of a run."""

from typing import TYPE_CHECKING

from polyclinic.system.lazy import import_when_used
from polyclinic.tracking.sanitize import silence_telemetry

if TYPE_CHECKING:
    from polyclinic.tracking.config import RunRecord
    from polyclinic.tracking.environment import commit_of
    from polyclinic.tracking.figures import (
        modality_gap,
        roc_curves,
        similarity_grid,
        similarity_matrix,
        training_curves,
    )
    from polyclinic.tracking.logger import RunLogger
    from polyclinic.tracking.record import log_cohort, log_figure, log_json, log_section, log_tags, log_text

__all__ = [
    "RunLogger",
    "RunRecord",
    "commit_of",
    "log_cohort",
    "log_figure",
    "log_json",
    "log_section",
    "log_tags",
    "log_text",
    "modality_gap",
    "roc_curves",
    "silence_telemetry",
    "similarity_grid",
    "similarity_matrix",
    "training_curves",
]

# Before anything below this package imports mlflow.
silence_telemetry()

# Commands that only send or register load neither Lightning nor matplotlib.
__getattr__ = import_when_used(
    __name__,
    {
        "RunLogger": "logger",
        "RunRecord": "config",
        "commit_of": "environment",
        **dict.fromkeys(
            ("modality_gap", "roc_curves", "similarity_grid", "similarity_matrix", "training_curves"), "figures"
        ),
        **dict.fromkeys(("log_cohort", "log_figure", "log_json", "log_section", "log_tags", "log_text"), "record"),
    },
)
