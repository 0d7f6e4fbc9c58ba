"""Lightning logger that opens one MLflow run per training run."""

import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from time import time
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_GIT_BRANCH, MLFLOW_GIT_REPO_URL, MLFLOW_SOURCE_NAME

from polyclinic.tracking.address import place_of_run
from polyclinic.tracking.entries import Artifact, Ended, Entry, Metrics, Params, Tags
from polyclinic.tracking.environment import short_command, system_sampler
from polyclinic.tracking.exit_status import run_status
from polyclinic.tracking.history import History
from polyclinic.tracking.lifecycle import reap, send_left
from polyclinic.tracking.outbox import Outbox
from polyclinic.tracking.process import PID, is_alive_elsewhere, process_tags
from polyclinic.tracking.sanitize import MetricNames, clean_name
from polyclinic.tracking.store import artifact_location, open_store
from polyclinic.tracking.uri import resolve_uri, without_password

_MAX_PARAM_CHARACTERS = 250
_PICTURES = (".png", ".svg")
_SECURE_TIMEOUT = 1.0
_log = logging.getLogger(__name__)


class RunLogger(Logger):
    """Log to MLflow, by default to a SQLite file that needs no server.

    Nothing is opened or written before the run starts, and only rank zero connects to MLflow. Checkpoints go to
    ``<out>/<experiment id>/<run id>/checkpoints``. A background thread sends the logged entries. While MLflow is away
    or its database is locked, training continues and the entries wait in ``spool-*.jsonl`` beside the checkpoints.
    Entries that have not arrived ``patience`` seconds after the end are sent by the next start or by
    ``polyclinic tracking send``.

    Args:
        experiment: name of the MLflow experiment, created if missing.
        out: folder for checkpoints, and for ``mlflow.db`` and ``mlartifacts`` unless another address is set.
        tracking_uri: address of the MLflow store; defaults to MLFLOW_TRACKING_URI at construction, and without it to
            ``sqlite:///<out>/mlflow.db``. A password in it is used but not stored.
        run_name: name of the run in MLflow, which generates one if absent.
        run_id: existing run to continue.
        tags: tags of a new run.
        patience: seconds to wait at the end of the run for unsent entries.
        system_metrics: whether to sample processor, memory and GPUs every ten seconds.
        guest: whether to add to a finished run without changing its status, process and end time.
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
        patience: float = 10.0,
        system_metrics: bool = True,
        guest: bool = False,
    ) -> None:
        super().__init__()
        if guest and run_id is None:
            raise ValueError("got `guest` without a run, expected the run to add to; set `run_id`")
        self._experiment_name, self._run_name = experiment, run_name
        self._out = out.absolute()
        self._uri = resolve_uri(given=tracking_uri, out=self._out)
        _warn_of_password(self._uri, given=tracking_uri)
        self._tags = dict(tags or {})
        self._run_id = run_id
        self._experiment_id: str | None = None
        self._client: MlflowClient | None = None
        self._outbox: Outbox | None = None
        self._metric_names = MetricNames()
        self._pictures: dict[str, None] = {}
        self._patience, self._system_metrics, self._guest = patience, system_metrics, guest

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without this process's client and outbox; a copy in another process continues the run."""
        return {**self.__dict__, "_client": None, "_outbox": None}

    @property
    @rank_zero_experiment
    def experiment(self) -> MlflowClient:
        """The MLflow client, after starting the run; a placeholder without effect on other ranks.

        Raises:
            ValueError: the store cannot be used; the message states the cause and the setting to change.
        """
        if self._client is None:
            client, self._experiment_id = open_store(
                self._uri, experiment=self._experiment_name, artifacts=artifact_location(self._uri, out=self._out)
            )
            resumed = self._run_id is not None
            run = self._continue(client, self._run_id) if self._run_id is not None else self._create(client)
            self._run_id, self._experiment_id = run.info.run_id, run.info.experiment_id
            self._outbox = self._open_outbox(client, run, resumed=resumed)
            self._client = client
        return self._client

    @property
    def tracking_uri(self) -> str:
        """The tracking address without a password."""
        return without_password(self._uri)

    @property
    def place(self) -> str:
        """Where to look at the run: its address on a server, otherwise the command that opens it."""
        assert self.experiment_id is not None
        assert self.run_id is not None
        return place_of_run(self._uri, out=self._out, experiment_id=self.experiment_id, run_id=self.run_id)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the pictures that this process has logged."""
        return tuple(self._pictures)

    @property
    def save_dir(self) -> str:
        """The folder ``out``, below which Lightning writes checkpoints."""
        return str(self._out)

    @property
    def run_id(self) -> str | None:
        """Id of the run, which is started if necessary; None on other ranks until ``adopt``."""
        _ = self.experiment
        return self._run_id

    @property
    def experiment_id(self) -> str | None:
        """Id of the experiment; None on other ranks until ``adopt``."""
        _ = self.experiment
        return self._experiment_id

    @property
    def name(self) -> str | None:
        """Id of the experiment, after which Lightning names checkpoint folders."""
        return self.experiment_id

    @property
    def version(self) -> str | None:
        """Id of the run, after which Lightning names checkpoint folders."""
        return self.run_id

    def adopt(self, *, experiment_id: str | None, run_id: str | None) -> None:
        """Use the ids that rank zero broadcast, so that all ranks use the same folders."""
        self._experiment_id, self._run_id = experiment_id, run_id

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace) -> None:
        """Log a flat selection of settings; no value raises an error.

        A value that is nested or longer than 250 characters becomes the tag ``param_omitted.<key>``. One that differs
        from the run's value becomes the tag ``param_drift.<key>``. The run's config contains all values in full.
        """
        given = {clean_name(str(key)): value for key, value in _as_mapping(params).items()}
        omitted = {key: reason for key, value in given.items() if (reason := _omitted(value)) is not None}
        self.send(Params({key: str(value) for key, value in given.items() if key not in omitted}))
        self.send(Tags({f"param_omitted.{key}": reason for key, reason in omitted.items()}))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers at a step.

        Raises:
            ValueError: MLflow would store two of the names as one, or a value is not a number.
        """
        now = int(time() * 1000)
        names = self._metric_names
        self.send(Metrics(tuple((names.clean(name), float(value), now, step or 0) for name, value in metrics.items())))

    @rank_zero_only
    def send(self, entry: Entry) -> None:
        """Queue an entry for the sending thread, and return immediately."""
        _ = self.experiment
        assert self._outbox is not None
        if isinstance(entry, Artifact) and entry.name.endswith(_PICTURES):
            self._pictures[entry.name] = None
        self._outbox.put(entry)

    @rank_zero_only
    def flush(self, seconds: float = 30.0) -> bool:
        """Wait until MLflow has all entries; return False after a timeout, which loses nothing."""
        return self._outbox is None or self._outbox.flush(seconds)

    @rank_zero_only
    def secure(self) -> None:
        """Ensure that all entries are in MLflow or on disk, as a run resumed from a checkpoint does not repeat them."""
        if self._outbox is not None:
            self._outbox.secure(_SECURE_TIMEOUT)

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Record the path of the best checkpoint in the run; no weights are uploaded."""
        if checkpoint_callback.best_model_path:
            self.name_checkpoint("best", Path(checkpoint_callback.best_model_path))

    @rank_zero_only
    def name_checkpoint(self, kind: str, path: Path) -> None:
        """Record a checkpoint as the tag ``checkpoint.<kind>``, a path relative to ``out``."""
        self.send(Tags({f"checkpoint.{kind}": self.relative(path)}))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run as FINISHED, FAILED or, after Ctrl-C and SIGTERM, KILLED."""
        if self._outbox is None:
            return
        if not self._guest:
            self._outbox.put(Ended(run_status(status, sys.exception()), int(time() * 1000)))
        if not self._outbox.close(self._patience):
            _log.warning(
                "MLflow at %s did not accept all entries within %g s; the rest waits beside the checkpoints of run %s, "
                "and the next start or `polyclinic tracking send` sends it",
                without_password(self._uri),
                self._patience,
                self._run_id,
            )

    def _create(self, client: MlflowClient) -> Run:
        return client.create_run(self._experiment_id, tags=self._start_tags(), run_name=self._run_name)

    def _continue(self, client: MlflowClient, run_id: str) -> Run:
        run = client.get_run(run_id)
        if self._guest:
            return run
        if run.info.status == "RUNNING" and is_alive_elsewhere(run.data.tags):
            raise ValueError(
                f"run {run_id} is still running in process {run.data.tags[PID]} of this host, expected a run that has "
                "ended; wait for it or stop it, or start a new run"
            )
        Tags(process_tags()).send(client, run_id)
        client.update_run(run_id, status="RUNNING")
        return run

    def _open_outbox(self, client: MlflowClient, run: Run, *, resumed: bool) -> Outbox:
        run_id, experiment_id, address = run.info.run_id, run.info.experiment_id, without_password(self._uri)

        def clean_up() -> None:
            send_left(client, self._out, address=address, resumed=None if self._guest else run_id)
            if not self._guest:
                reap(client, experiment_id, by=run_id)

        errands: list[Callable[[], None]] = [] if self._guest else [clean_up]
        return Outbox(
            client=client, run_id=run_id, address=address, folder=self._out / experiment_id / run_id, errands=errands,
            sample=system_sampler() if self._system_metrics and not self._guest else None,
            fresh=History(client, run_id).fresh if resumed and not self._guest else None,
        )  # fmt: skip

    def relative(self, path: Path) -> str:
        """Return the path relative to ``out``: folders above it may contain private names."""
        return path.relative_to(self._out).as_posix() if path.is_relative_to(self._out) else path.name

    def _start_tags(self) -> dict[str, str]:
        """Return MLflow's tags (user, git commit), with the command that runs as the source."""
        tags: dict[str, str] = resolve_tags({MLFLOW_SOURCE_NAME: short_command(), **process_tags(), **self._tags})
        return {name: value for name, value in tags.items() if name not in (MLFLOW_GIT_BRANCH, MLFLOW_GIT_REPO_URL)}


def _warn_of_password(uri: str, *, given: str | None) -> None:
    """Warn of a password in the address; only a database address in the environment may hold one."""
    is_server = uri.startswith(("http://", "https://"))
    if uri == without_password(uri) or not (is_server or given):
        return
    place = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if is_server else "MLFLOW_TRACKING_URI"
    _log.warning("the tracking address holds a password, which no run stores; set %s instead", place)


def _as_mapping(params: Mapping[str, Any] | Namespace) -> Mapping[str, Any]:
    return vars(params) if isinstance(params, Namespace) else params


def _omitted(value: object) -> str | None:
    """Return the reason why a value cannot be a parameter; None if it can."""
    if not isinstance(value, str | int | float | bool | None):
        return f"a {type(value).__name__}; see the run's config"
    length = len(str(value))
    return f"{length} characters; see the run's config" if length > _MAX_PARAM_CHARACTERS else None
