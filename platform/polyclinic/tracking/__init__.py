"""MLflow tracking: life cycle, configuration, artifacts and figures of a run."""

from polyclinic.tracking.sanitize import silence_telemetry

silence_telemetry()

# After the call, because each of these imports mlflow.
from polyclinic.tracking.config import RunRecord  # noqa: E402
from polyclinic.tracking.environment import commit_of  # noqa: E402
from polyclinic.tracking.figures import modality_gap, roc_curves, similarity_grid, similarity_matrix  # noqa: E402
from polyclinic.tracking.logger import RunLogger  # noqa: E402
from polyclinic.tracking.record import log_cohort, log_figure, log_json, log_tags, log_text  # noqa: E402

__all__ = [
    "RunLogger",
    "RunRecord",
    "commit_of",
    "log_cohort",
    "log_figure",
    "log_json",
    "log_tags",
    "log_text",
    "modality_gap",
    "roc_curves",
    "silence_telemetry",
    "similarity_grid",
    "similarity_matrix",
]
