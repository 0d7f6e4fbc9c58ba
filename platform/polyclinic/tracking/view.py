"""View of an experiment in MLflow's UI with a column for each result of its runs: MLflow shows none unasked."""

import json

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

VIEW = "polyclinic"
"""Name of the view in the address of the experiment."""

_TAG = f"mlflow.sharedViewState.{VIEW}"
_MAX_RUNS = 100
_MAX_METRICS = 6


def store_view(client: MlflowClient, experiment_id: str) -> bool:
    """Store the view as a tag of the experiment, where MLflow keeps the views that its users share.

    Returns:
        Whether it is stored; False without results, and on a server that grants no write access.
    """
    runs = client.search_runs([experiment_id], max_results=_MAX_RUNS)
    names = sorted({name for run in runs for name in run.data.metrics if is_result(name)}, key=_rank)
    columns = [f"metrics.`{name}`" for name in names[:_MAX_METRICS]]
    if not columns:
        return False
    try:
        client.set_experiment_tag(experiment_id, _TAG, json.dumps({"selectedColumns": columns}))
    except MlflowException:
        return False
    return True


def is_result(metric: str) -> bool:
    """Return whether a metric sums up a run: that of its best weights, or a mean over folds or findings."""
    return metric.startswith(("best/", "crossval/")) or metric.endswith("macro_auroc")


def _rank(metric: str) -> tuple[int, str]:
    return (not metric.startswith("best/"), metric)
