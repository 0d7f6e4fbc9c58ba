import logging
from pathlib import Path

import mlflow
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tracking_runs import Line, Points, artifact, quiet_trainer, runs

from polyclinic.tracking import RunLogger, log_cohort, log_figure, log_json, log_text, similarity_matrix


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def logger(empty_store: Path) -> RunLogger:
    return RunLogger(out=empty_store.parent, system_metrics=False)


def stored(logger: RunLogger) -> mlflow.entities.RunData:
    assert logger.flush()
    return mlflow.MlflowClient(logger.tracking_uri).get_run(logger.run_id).data


def test_the_address_is_the_one_set_when_the_logger_is_built(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty_store.rename(tmp_path / "late.db")
    assert RunLogger().tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/late.db")
    late = RunLogger()
    late.log_metrics({"val/auroc": 0.75}, step=2)
    assert late.flush()
    assert [run.data.metrics for run in runs(f"sqlite:///{tmp_path}/late.db")] == [{"val/auroc": 0.75}]
    assert RunLogger(tracking_uri="http://given").tracking_uri == "http://given"
    assert {path.name for path in tmp_path.iterdir()} == {"late.db", "late.db.lock"}


@pytest.mark.parametrize(
    ("ending", "raised", "status"),
    [
        ("well", None, "FINISHED"),
        ("error", RuntimeError, "FAILED"),
        ("interrupt", SystemExit, "KILLED"),
        ("sigterm", SIGTERMException, "KILLED"),
    ],
)
def test_the_status_records_how_a_fit_ended(
    logger: RunLogger, tmp_path: Path, ending: str, raised: type[BaseException] | None, status: str
) -> None:
    trainer = quiet_trainer(logger=logger, default_root_dir=tmp_path, enable_checkpointing=False)
    if raised is None:
        trainer.fit(Line(ending=ending), Points())
    else:
        with pytest.raises(raised):
            trainer.fit(Line(ending=ending), Points())
    [run] = runs(logger.tracking_uri)
    assert (run.info.status, run.info.end_time is not None) == (status, True)


def test_a_requeued_job_has_not_finished(logger: RunLogger) -> None:
    logger.log_metrics({"loss": 1.0})
    logger.finalize("finished")
    assert [run.info.status for run in runs(logger.tracking_uri)] == ["KILLED"]
    # It may continue to train until it is stopped.
    logger.log_metrics({"loss": 0.5}, step=1)
    assert stored(logger).metrics == {"loss": 0.5}


def test_a_resumed_run_is_running_again(logger: RunLogger, tmp_path: Path) -> None:
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("success")
    resumed = RunLogger(out=tmp_path, run_id=logger.run_id, system_metrics=False)
    resumed.log_metrics({"loss": 0.5}, step=1)
    assert resumed.flush()
    [run] = runs(logger.tracking_uri)
    assert (run.info.status, run.data.metrics) == ("RUNNING", {"loss": 0.5})
    assert resumed.version == logger.version


def test_metric_names_that_would_collide_are_refused(logger: RunLogger) -> None:
    logger.log_metrics({"val/AUC@pos": 0.5})
    logger.log_metrics({"val/AUC@pos": 0.75}, step=1)
    assert stored(logger).metrics == {"val/AUCpos": 0.75}
    with pytest.raises(ValueError, match=r"'val/AUC@pos' and 'val/AUCpos'.*rename"):
        logger.log_metrics({"val/AUCpos": 0.25}, step=1)
    with pytest.raises(ValueError, match="rename"):
        logger.log_metrics({"@@": 0.25})


def test_long_nested_or_changed_parameters_never_stop_a_run(
    logger: RunLogger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.log_hyperparams({"lr": 0.1, "prompt": "x" * 20_000, "just": "y" * 250, "nested": {"a": 1}, "none": None})
    assert stored(logger).params == {"lr": "0.1", "just": "y" * 250, "none": "None"}
    with caplog.at_level(logging.WARNING):
        logger.log_hyperparams({"lr": 0.2, "just": "y" * 250, "seed": 1})
        run = stored(logger)
    assert (run.params["lr"], run.params["seed"]) == ("0.1", "1")
    parameters = {key: value for key, value in run.tags.items() if key.startswith("param_")}
    assert parameters == {
        "param_omitted.prompt": "20000 characters; see the run's config",
        "param_omitted.nested": "a dict; see the run's config",
        "param_drift.lr": "0.2",
    }
    assert "lr = 0.1, this session uses 0.2" in caplog.text


def test_more_entries_than_fit_in_one_request_are_logged(logger: RunLogger) -> None:
    logger.log_hyperparams({f"p{index}": index for index in range(150)})
    logger.log_metrics({f"m{index}": index for index in range(150)})
    assert (len(stored(logger).params), len(stored(logger).metrics)) == (150, 150)


def test_configuration_tags_and_artifacts_are_recorded_beside_the_metrics(logger: RunLogger, tmp_path: Path) -> None:
    log_text(logger, "für", "notes/a.txt")
    log_json(logger, {"auroc": [0.5]}, "scores.json")
    log_figure(logger, similarity_matrix(np.eye(2), ["a", "b"]), "figures/match.png")
    log_cohort(logger, "demo", "0123456789abcdef0123456789abcdef01234567", {"train": 3})
    assert logger.flush()
    content = {
        name: artifact(logger.tracking_uri, logger.run_id, name, tmp_path) for name in ("notes/a.txt", "scores.json")
    }
    assert content["notes/a.txt"] == "für"
    assert "0.5" in content["scores.json"]
    [run] = runs(logger.tracking_uri)
    [dataset] = [entry.dataset for entry in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest, dataset.profile) == ("demo", "0123456789abcdef", '{"train": 3}')
    assert dataset.source == '{"fingerprint": "0123456789abcdef0123456789abcdef01234567"}'
    pictures = mlflow.MlflowClient(logger.tracking_uri).list_artifacts(logger.run_id, "figures")
    assert [(picture.path, picture.file_size > 1000) for picture in pictures] == [("figures/match.png", True)]
    with pytest.raises(ValueError, match="7 characters, expected 8"):
        log_cohort(logger, "demo", "0123456", {})


def test_other_loggers_are_left_unchanged(tmp_path: Path) -> None:
    for logger in (None, CSVLogger(tmp_path)):
        log_text(logger, "text", "a.txt")
        log_cohort(logger, "demo", "01234567", {})
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_experiment_is_named(logger: RunLogger, tmp_path: Path) -> None:
    mlflow.MlflowClient(logger.tracking_uri).delete_experiment(logger.experiment_id)
    with pytest.raises(ValueError, match=r"experiment 'polyclinic' was deleted; restore it .*init_args\.experiment"):
        RunLogger(out=tmp_path).log_metrics({"loss": 1.0})
