"""What a run keeps beside its metrics: figures, JSON, text, and the cohort it saw.

Each function does nothing for a logger that does not write to MLflow (none, CSV, TensorBoard) and on ranks other
than zero, so that callers need no case of their own.
"""

import json
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, RunTag

from polyclinic.tracking.logger import RunLogger

_DIGEST = 16
_SHORTEST_FINGERPRINT = 8


def mlflow_run(logger: Logger | None) -> tuple[MlflowClient, str] | None:
    """The client and run id behind a logger; None where there is no MLflow run to write to."""
    if not isinstance(logger, RunLogger | MLFlowLogger):
        return None
    client = logger.experiment  # a stand-in on ranks other than zero
    return (client, str(logger.run_id)) if isinstance(client, MlflowClient) else None


def log_text(logger: Logger | None, text: str, name: str) -> None:
    """Keep a text as the artifact ``name``, such as ``notes/readme.md``."""
    if (run := mlflow_run(logger)) is not None:
        client, run_id = run
        client.log_text(run_id, text, name)


def log_json(logger: Logger | None, value: Any, name: str) -> None:
    """Keep plain values as the artifact ``name``, which ends in ``.json``.

    Raises:
        TypeError: the value holds something that JSON cannot.
    """
    log_text(logger, json.dumps(value, indent=2, ensure_ascii=False) + "\n", name)


def log_tags(logger: Logger | None, tags: Mapping[str, str]) -> None:
    """Set tags of the run, in place of earlier ones of the same names."""
    if (run := mlflow_run(logger)) is not None:
        client, run_id = run
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def log_figure(logger: Logger | None, figure: Figure, name: str) -> None:
    """Keep a figure as the artifact ``name``, whose ending (``.png``, ``.svg``) chooses the format."""
    if (run := mlflow_run(logger)) is not None:
        client, run_id = run
        client.log_figure(run_id, figure, name)


def log_cohort(logger: Logger | None, name: str, fingerprint: str, counts: Mapping[str, int]) -> None:
    """Name the cohort as the run's dataset, without copying any of it.

    Args:
        logger: of the run.
        name: of the cohort.
        fingerprint: hash of the cohort's content, in full; kept as the tag ``cohort.fingerprint``.
        counts: studies per split, modality or label.

    Raises:
        ValueError: a fingerprint below 8 characters, which would not tell cohorts apart.
    """
    if len(fingerprint) < _SHORTEST_FINGERPRINT:
        raise ValueError(
            f"got a cohort fingerprint of {len(fingerprint)} characters, expected {_SHORTEST_FINGERPRINT} or more; "
            "pass the cohort's own `fingerprint`"
        )
    if (run := mlflow_run(logger)) is None:
        return
    client, run_id = run
    dataset = Dataset(
        name=name,
        digest=fingerprint[:_DIGEST],
        source_type="polyclinic-cohort",
        source=json.dumps({"fingerprint": fingerprint}),
        profile=json.dumps(dict(counts)),
    )
    client.log_inputs(run_id, datasets=[DatasetInput(dataset)])
    client.set_tag(run_id, "cohort.fingerprint", fingerprint)
