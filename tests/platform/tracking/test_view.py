"""The view that ``polyclinic runs`` opens: the results of the runs as columns, where the store can be written."""

import json
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from polyclinic.tracking import RunLogger
from polyclinic.tracking.store import find_run
from polyclinic.tracking.view import store_view

TAG = "mlflow.sharedViewState.polyclinic"


class _ReadOnly(MlflowClient):
    def set_experiment_tag(self, experiment_id: str, key: str, value: object) -> None:
        raise MlflowException("Permission denied")


def test_results_come_first_and_everything_else_is_left_out(empty_store: Path) -> None:
    logger = RunLogger(out=empty_store.parent, system_metrics=False)
    logger.log_metrics({"train/loss": 1.0, "test/card_macro_auroc": 0.7, "best/val/auroc": 0.8, "val/loss": 1.0})
    logger.finalize("success")
    later = RunLogger(out=empty_store.parent, system_metrics=False)
    later.log_metrics({"crossval/macro_auroc": 0.6})
    later.finalize("success")
    assert find_run(logger.tracking_uri, None).info.run_id == later.run_id
    assert find_run(logger.tracking_uri, logger.run_id).info.run_id == logger.run_id
    experiment = str(logger.experiment_id)
    assert not store_view(_ReadOnly(logger.tracking_uri), experiment)
    client = MlflowClient(logger.tracking_uri)
    assert TAG not in client.get_experiment(experiment).tags
    assert store_view(client, experiment)
    assert json.loads(client.get_experiment(experiment).tags[TAG])["selectedColumns"] == [
        "metrics.`best/val/auroc`", "metrics.`crossval/macro_auroc`", "metrics.`test/card_macro_auroc`",
    ]  # fmt: skip
