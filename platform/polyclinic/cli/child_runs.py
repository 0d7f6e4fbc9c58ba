"""Runs of ``fit`` in child processes, whose MLflow runs are children of one run."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from polyclinic.cli.configurations import configuration_files, read_configuration
from polyclinic.cli.options import described
from polyclinic.cli.parser import Parser, plain
from polyclinic.tracking import RunLogger


def run_with_fits(command: Callable[..., None], argv: Sequence[str], *, prog: str) -> None:
    """Run a function from a command line; options that are not its parameters are the ``words`` of every fit."""
    parser = Parser(prog=prog, text=described(command))
    parser.add_function_arguments(command, as_group=False, skip={"words"})
    if {"-h", "--help"} & set(argv):
        parser.print_help()
        return
    options = {plain(word) for action in parser._actions for word in action.option_strings}
    own, fit = _split_words(argv, options)
    settings = parser.parse_args(own)
    for path in configuration_files(fit):
        read_configuration(path)
    settings.pop("config", None)
    command(**vars(parser.instantiate_classes(settings)), words=fit)


def logger_words(parent: RunLogger, experiment: str, out: Path) -> list[str]:
    """Return arguments that make the run of a fit a child of another run."""
    logger = "--trainer.logger.init_args"
    tags = json.dumps({MLFLOW_PARENT_RUN_ID: parent.run_id})
    return [
        f"{logger}.experiment", experiment, f"{logger}.out", str(out), f"{logger}.tracking_uri", parent.tracking_uri,
        f"{logger}.tags", tags,
    ]  # fmt: skip


def add_to_run(tracking_uri: str, run_id: str, out: Path, metrics: Mapping[str, float]) -> None:
    """Log metrics to a child that has ended."""
    child = RunLogger(tracking_uri=tracking_uri, run_id=run_id, out=out, guest=True)
    child.log_metrics(metrics)
    child.finalize("success")


def run_fit(words: Sequence[str], variables: Mapping[str, str] | None = None) -> tuple[Mapping[str, Any] | None, str]:
    """Run one fit, and return its report, or None and the last line of its error output or the signal that ended it.

    Args:
        words: arguments of the fit.
        variables: variables of its environment that differ from those of this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "fit.json"
        command = [sys.executable, "-P", "-m", "polyclinic.cli", "fit", *words, "--json", str(result)]
        environment = {**os.environ, **(variables or {})}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode < 0:
            return None, f"it was ended by {signal.Signals(-done.returncode).name}"
        if done.returncode:
            return None, (done.stderr.strip().splitlines() or ["nothing"])[-1]
        report: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return report, ""


def _split_words(argv: Sequence[str], options: set[str]) -> tuple[list[str], list[str]]:
    """Split words into those of the command with these options, and those of every fit; values follow their option."""
    own: list[str] = []
    fit: list[str] = []
    side = fit
    for word in argv:
        if word.startswith("-"):
            side = own if plain(word.partition("=")[0]) in options else fit
        side.append(word)
    return own, fit
