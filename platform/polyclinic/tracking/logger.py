"""One MLflow run per training run."""

import logging
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from time import time
from typing import Any, TypeVar

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME

from polyclinic.tracking.names import MetricNames, clean_name
from polyclinic.tracking.status import run_status
from polyclinic.tracking.store import artifact_location, open_store, resolve_uri

_LONGEST_PARAM = 250
_BATCH = 100
_log = logging.getLogger(__name__)

T = TypeVar("T")


class RunLogger(Logger):
    """Logs to MLflow, by default to a SQLite file that needs no server.

    Nothing is opened or written before the run starts, and only rank zero talks to MLflow. Checkpoints go to
    ``<out>/<experiment id>/<run id>/checkpoints``.

    Args:
        experiment: name of the MLflow experiment; created when missing.
        out: folder for checkpoints, and for ``mlflow.db`` and ``mlartifacts`` when no other address is given.
        tracking_uri: address of the MLflow store; when absent the environment's MLFLOW_TRACKING_URI at the time of
            construction, and without that ``sqlite:///<out>/mlflow.db``.
        run_name: shown in MLflow, which makes one up when absent.
        run_id: an existing run to continue.
        tags: of a new run.
    """

    def __init__(
        self,
        *,
        experiment: str = "polyclinic",
        out: Path = Path("runs"),
        tracking_uri: str | None = None,
        run_name: str | None = None,
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._experiment_name, self._run_name = experiment, run_name
        self._out = out.absolute()
        self._uri = resolve_uri(given=tracking_uri, out=self._out)
        self._tags = dict(tags or {})
        self._run_id = run_id
        self._experiment_id: str | None = None
        self._client: MlflowClient | None = None
        self._metric_names = MetricNames()

    @property
    @rank_zero_experiment
    def experiment(self) -> MlflowClient:
        """The MLflow client, with the run started; a stand-in that does nothing on other ranks.

        Raises:
            ValueError: the store cannot be used; the message says why and what to set.
        """
        if self._client is None:
            client, self._experiment_id = open_store(
                self._uri, experiment=self._experiment_name, artifacts=artifact_location(self._uri, out=self._out)
            )
            if self._run_id is None:
                run = client.create_run(self._experiment_id, tags=self._start_tags(), run_name=self._run_name)
            else:
                run = client.get_run(self._run_id)
                client.update_run(self._run_id, status="RUNNING")
            self._run_id, self._experiment_id = run.info.run_id, run.info.experiment_id
            self._client = client
        return self._client

    @property
    def tracking_uri(self) -> str:
        """The address in use."""
        return self._uri

    @property
    def save_dir(self) -> str:
        """``out``; Lightning puts checkpoints below it."""
        return str(self._out)

    @property
    def run_id(self) -> str | None:
        """Id of the run, which is started when need be; on other ranks None until ``adopt``."""
        _ = self.experiment
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """Id of the experiment; on other ranks None until ``adopt``."""
        _ = self.experiment
        return self._experiment_id

    @property
    def name(self) -> str | None:
        """Id of the experiment, as Lightning names checkpoint folders by it."""
        return self.experiment_id

    @property
    def version(self) -> str | None:
        """Id of the run, as Lightning names checkpoint folders by it."""
        return self.run_id

    def adopt(self, *, experiment_id: str | None, run_id: str | None) -> None:
        """Take over the ids that rank zero broadcast, so that every rank names the same folders."""
        self._experiment_id, self._run_id = experiment_id, run_id

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        """Log a short, flat choice of settings; never raises for a value.

        A value that is nested or longer than 250 characters becomes the tag ``param_omitted.<key>``, and one that
        differs from what the run already holds the tag ``param_drift.<key>``; the run's config has them in full.
        """
        given = {clean_name(str(key)): value for key, value in _as_mapping(params).items()}
        held = self.experiment.get_run(self.run_id).data.params
        new: list[Param] = []
        tags: list[RunTag] = []
        for key, value in given.items():
            if (omitted := _omitted(value)) is not None:
                tags.append(RunTag(f"param_omitted.{key}", omitted))
            elif key not in held:
                new.append(Param(key, str(value)))
            elif held[key] != str(value):
                tags.append(RunTag(f"param_drift.{key}", str(value)))
                _log.warning("the run holds %s = %s, this session uses %s; see its tags", key, held[key], value)
        for batch in _batches(new):
            self.experiment.log_batch(self.run_id, params=batch)
        for batch in _batches(tags):
            self.experiment.log_batch(self.run_id, tags=batch)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers at a step.

        Raises:
            ValueError: two names that MLflow would store as one, or a value that is no number.
        """
        now = int(time() * 1000)
        entries = [
            Metric(self._metric_names.clean(name), float(value), now, step or 0) for name, value in metrics.items()
        ]
        for batch in _batches(entries):
            self.experiment.log_batch(self.run_id, metrics=batch)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run as FINISHED, FAILED or, after Ctrl-C and SIGTERM, KILLED."""
        if self._client is not None:
            self._client.set_terminated(self._run_id, run_status(status, sys.exception()))

    def _start_tags(self) -> dict[str, str]:
        """MLflow's own tags (user, git commit), with the script's name in place of its path."""
        tags: dict[str, str] = resolve_tags({MLFLOW_SOURCE_NAME: Path(sys.argv[0]).name, **self._tags})
        return tags


def _as_mapping(params: Mapping[str, Any] | Namespace) -> Mapping[str, Any]:
    return vars(params) if isinstance(params, Namespace) else params


def _omitted(value: object) -> str | None:
    """Why a value is no parameter, or None when it is one."""
    if not isinstance(value, str | int | float | bool | None):
        return f"a {type(value).__name__}; see the run's config"
    length = len(str(value))
    return f"{length} characters; see the run's config" if length > _LONGEST_PARAM else None


def _batches(entries: Iterable[T]) -> Iterator[list[T]]:
    """In lists of what MLflow takes in one request."""
    remaining = iter(entries)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
