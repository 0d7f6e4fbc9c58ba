"""What a run keeps beside its metrics: figures, JSON, text, and the cohort it saw.

Each function does nothing for a logger that does not write to MLflow (none, CSV, TensorBoard) and on ranks other
than zero, so that callers need no case of their own.
"""

import io
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger
from matplotlib.figure import Figure
from mlflow import MlflowClient

from polyclinic.tracking.entries import Artifact, CohortInput, Entry, Tags
from polyclinic.tracking.logger import RunLogger

_DIGEST = 16
_SHORTEST_FINGERPRINT = 8


def is_tracked(logger: Logger | None) -> bool:
    """Whether there is an MLflow run behind a logger that this process writes to."""
    if not isinstance(logger, RunLogger | MLFlowLogger):
        return False
    return isinstance(logger.experiment, MlflowClient)  # a stand-in on ranks other than zero


def send(logger: Logger | None, entry: Entry) -> None:
    """Hand an entry to the run of a logger, in the background where the logger has one."""
    if isinstance(logger, RunLogger):
        logger.send(entry)
    elif isinstance(logger, MLFlowLogger) and is_tracked(logger):
        entry.send(logger.experiment, str(logger.run_id))


def log_text(logger: Logger | None, text: str, name: str) -> None:
    """Keep a text as the artifact ``name``, such as ``notes/readme.md``."""
    send(logger, Artifact.of(name, text.encode()))


def log_json(logger: Logger | None, value: Any, name: str) -> None:
    """Keep plain values as the artifact ``name``, which ends in ``.json``.

    Raises:
        TypeError: the value holds something that JSON cannot.
    """
    log_text(logger, json.dumps(value, indent=2, ensure_ascii=False) + "\n", name)


def log_tags(logger: Logger | None, tags: Mapping[str, str]) -> None:
    """Set tags of the run, in place of earlier ones of the same names."""
    send(logger, Tags(dict(tags)))


def log_figure(logger: Logger | None, figure: Figure, name: str) -> None:
    """Keep a figure as the artifact ``name``, whose ending (``.png``, ``.svg``) chooses the format."""
    if is_tracked(logger):
        drawn = io.BytesIO()
        figure.savefig(drawn, format=PurePosixPath(name).suffix[1:])
        send(logger, Artifact.of(name, drawn.getvalue()))


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
    source, profile = json.dumps({"fingerprint": fingerprint}), json.dumps(dict(counts))
    send(logger, CohortInput(name, fingerprint[:_DIGEST], source, profile))
    send(logger, Tags({"cohort.fingerprint": fingerprint}))
