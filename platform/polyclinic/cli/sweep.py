"""``polyclinic sweep``: runs of ``fit`` with settings that Optuna chooses, as children of one MLflow run."""

import json as json_format
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser
from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from rich.table import Table

from polyclinic.files.results import refuse_unwritable, write_result
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tracking import RunLogger
from polyclinic.tracking.uri import resolve_uri, sqlite_uri, without_password

try:
    import optuna
except ModuleNotFoundError:
    raise ValueError("a sweep needs Optuna, which is not installed; pip install 'polyclinic[sweep]'") from None

_KEYS = ({"choices"}, {"low", "high"}, {"low", "high", "log"}, {"low", "high", "step"})


def main(argv: Sequence[str]) -> None:
    """Parse what follows ``polyclinic sweep``; words that are not options of the sweep go to every ``fit``."""
    parser = ArgumentParser(prog="polyclinic sweep", description=sweep.__doc__, exit_on_error=False)
    parser.add_function_arguments(sweep, skip={"words"})
    if {"-h", "--help"} & set(argv):
        parser.print_help()
        return
    options = {word for action in parser._actions for word in action.option_strings}
    own, others = _divided(list(argv[1:]), options)
    settings = parser.parse_args(own)
    settings.pop("config", None)
    sweep(**vars(parser.instantiate_classes(settings)), words=others)


def sweep(
    space: Path,
    metric: str = "val/loss",
    direction: Literal["minimize", "maximize"] = "minimize",
    trials: int = 20,
    name: str = "sweep",
    experiment: str = "polyclinic",
    out: Path = Path("runs"),
    tracking_uri: str | None = None,
    seed: int = 0,
    json: Path | None = None,
    words: Sequence[str] = (),
) -> None:
    """Choose settings of fit by trials: polyclinic sweep --space space.yaml -c experiments/phantom/symile.yaml

    Trials are drawn by the tree-structured Parzen estimator (Bergstra et al. 2011) of Optuna. A trial whose fit fails
    is counted and left out. A sweep of the same name in the same folder goes on where it was.

    Args:
        space: YAML of settings: each is {choices: [...]}, or {low, high} with step or log; whole numbers stay whole.
        metric: of the run, its last value.
        direction: of improvement.
        trials: to run in all, those of an earlier start included.
        name: of the sweep, and of its run in MLflow.
        experiment: of MLflow.
        out: folder of the runs and of the sweep's own file.
        tracking_uri: address of MLflow, as of a fit.
        seed: of the draws; every fit has its own.
        json: file to write the trials to.
        words: of every fit, such as a configuration.

    Raises:
        ValueError: a space that cannot be drawn from, no trial, or none that succeeded.
    """
    if trials < 1:
        raise ValueError(f"got {trials} trials, expected at least 1; set `--trials`")
    refuse_unwritable(json)
    dimensions = read_space(space)
    if tracking_uri is not None and tracking_uri != without_password(tracking_uri):
        # Where every fit finds the password, which is none of its words.
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name, direction=direction, storage=sqlite_uri(out / "sweeps.db"),
        sampler=optuna.samplers.TPESampler(seed=seed), load_if_exists=True,
    )  # fmt: skip
    parent = RunLogger(
        experiment=experiment, out=out, tracking_uri=tracking_uri, run_name=name,
        run_id=study.user_attrs.get("run_id"), system_metrics=False,
    )  # fmt: skip
    study.set_user_attr("run_id", parent.run_id)
    shared = [*words, *_logged(parent, experiment, out)]
    console = Console()
    status = "failed"
    try:
        while (number := len(study.trials)) < trials:
            trial = study.ask()
            chosen = {setting: _drawn(trial, setting, entry) for setting, entry in dimensions.items()}
            named = ["--trainer.logger.init_args.run_name", f"{name}-{number}"]
            value, message = _tried(chosen, [*shared, *named], metric)
            study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
            told = f"{value:.6g}" if value is not None else f"failed: {message}"
            line = f"trial {number + 1} of {trials}: {metric} {told} with {chosen}"
            console.print(line, markup=False, soft_wrap=True)
        _show(study, metric, parent, console, json)
        best = [word for setting, value in study.best_params.items() for word in (f"--{setting}", _best_word(value))]
        print_next("polyclinic", "fit", *words, *best)
        status = "success"
    finally:
        parent.finalize(status)


def _logged(parent: RunLogger, experiment: str, out: Path) -> list[str]:
    """What makes the run of a fit a child of the sweep's."""
    logger = "--trainer.logger.init_args"
    tags = json_format.dumps({MLFLOW_PARENT_RUN_ID: parent.run_id})
    return [
        f"{logger}.experiment", experiment, f"{logger}.out", str(out), f"{logger}.tracking_uri", parent.tracking_uri,
        f"{logger}.tags", tags,
    ]  # fmt: skip


def read_space(path: Path) -> dict[str, dict[str, Any]]:
    """Settings and what each is drawn from.

    Raises:
        ValueError: not a readable mapping of settings to choices or ranges.
    """
    try:
        content = load_yaml(path.read_bytes(), name=path.name)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be opened ({type(error).__name__}); set `--space`") from None
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path.name} holds no settings, expected such as `model.init_args.lr: {{low: 1.0e-4, high: 1.0e-2}}`"
        )
    for setting, entry in content.items():
        if not isinstance(entry, dict) or set(entry) not in _KEYS or not _is_range(entry):
            raise ValueError(
                f"got {setting}: {entry!r} in {path.name}, expected {{choices: [...]}}, or {{low, high}} in rising "
                "order with step or log"
            )
    return {str(setting): entry for setting, entry in content.items()}


def _is_range(entry: Mapping[str, Any]) -> bool:
    if "choices" in entry:
        return isinstance(entry["choices"], list) and bool(entry["choices"])
    bounds = [entry["low"], entry["high"], entry.get("step", 1)]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in bounds)
    return numbers and entry["low"] <= entry["high"] and bounds[2] > 0 and (entry["low"] > 0 or not entry.get("log"))


def _drawn(trial: optuna.Trial, setting: str, entry: Mapping[str, Any]) -> Any:
    if "choices" in entry:
        # As text, because Optuna keeps numbers and texts alone.
        texts = [json_format.dumps(one) for one in entry["choices"]]
        return json_format.loads(trial.suggest_categorical(setting, texts))
    whole = all(isinstance(entry[key], int) for key in ("low", "high"))
    log = bool(entry.get("log"))
    if whole:
        return trial.suggest_int(setting, entry["low"], entry["high"], step=entry.get("step", 1), log=log)
    return trial.suggest_float(setting, entry["low"], entry["high"], step=entry.get("step"), log=log)


def _tried(chosen: Mapping[str, Any], words: Sequence[str], metric: str) -> tuple[float | None, str]:
    """The metric of one fit, in a process of its own, or the last thing that it said."""
    given = [word for setting, value in chosen.items() for word in (f"--{setting}", _word(value))]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "fit.json"
        run = [sys.executable, "-P", "-m", "polyclinic.cli", "fit", *words, *given, "--json", str(result)]
        done = subprocess.run(run, capture_output=True, text=True)
        if done.returncode:
            return None, (done.stderr.strip().splitlines() or ["nothing"])[-1]
        told = json_format.loads(result.read_text(encoding="utf-8"))
    client = MlflowClient(resolve_uri(given=told["tracking_uri"], out=Path()))
    metrics = client.get_run(told["mlflow_run_id"]).data.metrics
    if metric not in metrics:
        raise ValueError(f"the runs have no metric {metric!r}, they have {sorted(metrics)}; set `--metric`")
    return metrics[metric], ""


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json_format.dumps(value)


def _best_word(value: Any) -> str:
    """A word for a setting that Optuna kept, where choices are JSON."""
    return _word(json_format.loads(value) if isinstance(value, str) else value)


def _show(study: optuna.Study, metric: str, parent: RunLogger, console: Console, json: Path | None) -> None:
    done = [trial for trial in study.trials if trial.value is not None]
    failed = len(study.trials) - len(done)
    if not done:
        raise ValueError(
            f"all {failed} trials failed, the last words of each are above; correct the space or the words"
        )
    order = sorted(done, key=lambda trial: trial.value or 0.0, reverse=study.direction.name == "MAXIMIZE")
    table = Table("trial", metric, *study.best_params)
    for trial in order[:10]:
        table.add_row(str(trial.number + 1), f"{trial.value:.6g}", *(f"{one}" for one in trial.params.values()))
    console.print(table)
    parent.log_hyperparams({"trials": len(study.trials), "failed": failed, **study.best_params})
    parent.log_metrics({f"best/{metric}": float(study.best_value)})
    if json is not None:
        told = [{"trial": one.number + 1, "value": one.value, **one.params} for one in study.trials]
        write_result(json, {"best": study.best_params, "trials": told})


def _divided(argv: Sequence[str], options: set[str]) -> tuple[list[str], list[str]]:
    """The sweep's own words, and those of every fit."""
    own: list[str] = []
    others: list[str] = []
    side = others
    for word in argv:
        if word.startswith("-"):
            side = own if word.partition("=")[0] in options else others
        side.append(word)
    return own, others
