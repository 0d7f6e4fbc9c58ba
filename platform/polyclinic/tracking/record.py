"""Artifacts, description and cohort of a run.

The functions have no effect for loggers without MLflow (None, CSV, TensorBoard) and on ranks other than zero, so that
callers need not check.
"""

import io
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger
from matplotlib.figure import Figure
from mlflow import MlflowClient

from polyclinic.tracking.entries import Artifact, CohortInput, Entry, Section, Tags
from polyclinic.tracking.logger import RunLogger

_DIGEST_CHARACTERS = 16
_MIN_FINGERPRINT = 8


def is_tracked(logger: Logger | None) -> bool:
    """Return whether this process writes to an MLflow run through the logger."""
    if not isinstance(logger, RunLogger | MLFlowLogger):
        return False
    return isinstance(logger.experiment, MlflowClient)  # a placeholder on ranks other than zero


def send(logger: Logger | None, entry: Entry) -> None:
    """Send an entry to the run of a logger; a ``RunLogger`` sends it in the background."""
    if isinstance(logger, RunLogger):
        logger.send(entry)
    elif isinstance(logger, MLFlowLogger) and is_tracked(logger):
        entry.send(logger.experiment, str(logger.run_id))


def log_text(logger: Logger | None, text: str, name: str) -> None:
    """Log a text as the artifact ``name``, such as ``notes/readme.md``."""
    send(logger, Artifact.of(name, text.encode()))


def log_json(logger: Logger | None, value: Any, name: str) -> None:
    """Log plain values as the artifact ``name``, which ends in ``.json``.

    Raises:
        TypeError: the value is not serialisable as JSON.
    """
    log_text(logger, json.dumps(value, indent=2, ensure_ascii=False) + "\n", name)


def log_tags(logger: Logger | None, tags: Mapping[str, str]) -> None:
    """Set tags of the run; they replace earlier tags of the same names."""
    send(logger, Tags(dict(tags)))


def log_section(logger: Logger | None, title: str, text: str) -> None:
    """Replace or add a section of the description of the run, in Markdown."""
    send(logger, Section(title, text))


def log_figure(logger: Logger | None, figure: Figure, name: str) -> None:
    """Log a figure as the artifact ``name``, whose suffix (``.png``, ``.svg``) selects the format."""
    if is_tracked(logger):
        image = io.BytesIO()
        figure.savefig(image, format=PurePosixPath(name).suffix[1:])
        send(logger, Artifact.of(name, image.getvalue()))


def log_cohort(logger: Logger | None, name: str, fingerprint: str, counts: Mapping[str, int]) -> None:
    """Log the cohort as the run's dataset, without its content.

    Args:
        logger: logger of the run.
        name: name of the cohort.
        fingerprint: full hash of the cohort's content.
        counts: numbers of studies by split, modality or label.

    Raises:
        ValueError: the fingerprint has fewer than 8 characters, too few to distinguish cohorts.
    """
    if len(fingerprint) < _MIN_FINGERPRINT:
        raise ValueError(
            f"got a cohort fingerprint of {len(fingerprint)} characters, expected {_MIN_FINGERPRINT} or more; "
            "pass the cohort's `fingerprint`"
        )
    source, profile = json.dumps({"fingerprint": fingerprint}), json.dumps(dict(counts))
    send(logger, CohortInput(name, fingerprint[:_DIGEST_CHARACTERS], source, profile))
