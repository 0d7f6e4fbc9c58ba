"""``polyclinic sweep``: hyperparameter search by Optuna over runs of ``fit``, children of one MLflow run."""

import json as json_format
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from mlflow import MlflowClient
from rich.table import Table

from polyclinic.cli.child_runs import add_to_run, logger_words, run_fit, run_with_fits
from polyclinic.files.kinds import refuse_other_kind
from polyclinic.files.results import refuse_unwritable, write_result
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tracking import RunLogger, log_section
from polyclinic.tracking.environment import short_command
from polyclinic.tracking.note import NEXT, QUESTION, REPEAT, RESULT, code, code_block
from polyclinic.tracking.uri import resolve_uri, sqlite_uri, without_password

_ENTRY_KEYS = ({"choices"}, {"low", "high"}, {"low", "high", "log"}, {"low", "high", "step"})


def main(argv: Sequence[str]) -> None:
    """Run the ``sweep`` command; options unknown to it are passed to every ``fit``."""
    run_with_fits(sweep, argv[1:], prog="polyclinic sweep")


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
    """Tune settings of fit: polyclinic sweep --space space.yaml -c demo/symile.yaml

    Trials are drawn by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011). A trial whose fit fails is
    counted, but not used. A sweep with the same name and folder is resumed.

    Args:
        space: YAML file of settings: each is {choices: [...]}, or {low, high} with step or log; integer bounds draw
            integers.
        metric: metric of the run: its value for the best weights if it chose them, otherwise the last one.
        direction: direction of improvement.
        trials: total number of trials, earlier starts included.
        name: name of the sweep and of its MLflow run.
        experiment: MLflow experiment.
        out: folder of the runs and of the database of the sweep.
        tracking_uri: address of MLflow, as for `fit`.
        seed: seed of the draws; `fit` has a separate seed.
        json: file for the trials.
        words: arguments of every `fit`, such as a configuration.

    Raises:
        ValueError: the space is invalid, `trials` is below 1, the metric is missing, or all trials failed.
    """
    if trials < 1:
        raise ValueError(f"got {trials} trials, expected at least 1; set `--trials`")
    refuse_unwritable(json)
    dimensions = read_space(space)
    if tracking_uri is not None and tracking_uri != without_password(tracking_uri):
        # Passed by environment, so that the password is not on the command line of a fit.
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
    shared = [*words, *logger_words(parent, experiment, out)]
    console = Console()
    status = "failed"
    try:
        while (number := len(study.trials)) < trials:
            trial = study.ask()
            values = {setting: _draw(trial, setting, entry) for setting, entry in dimensions.items()}
            run_name = ["--trainer.logger.init_args.run_name", f"{name}-{number}"]
            given = [word for setting, drawn in values.items() for word in (f"--{setting}", _word(drawn))]
            report, message = run_fit([*shared, *run_name, *given])
            value = None if report is None else _value_of(report, metric, out)
            study.tell(trial, value, state=None if value is not None else optuna.trial.TrialState.FAIL)
            outcome = f"{value:.6g}" if value is not None else f"failed: {message}"
            line = f"trial {number + 1} of {trials}: {metric} {outcome} with {values}"
            console.print(line, markup=False, soft_wrap=True)
        _print_trials(study, metric, parent, console, json)
        best = [word for setting, value in study.best_params.items() for word in (f"--{setting}", _best_word(value))]
        following = ["polyclinic", "fit", *words, *best]
        _describe(study, metric, parent, following)
        console.print(f"run: {parent.place}", markup=False, soft_wrap=True)
        print_next(*following)
        status = "success"
    finally:
        parent.finalize(status)


def read_space(path: Path) -> dict[str, dict[str, Any]]:
    """Read the search space: choices or a range by setting.

    Raises:
        ValueError: the file cannot be read, or is not a mapping of settings to choices or ranges.
    """
    refuse_other_kind(path, "a search space", "set `--space` to a file of settings and their ranges")
    try:
        content = load_yaml(path.read_bytes(), name=path.name)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be opened ({type(error).__name__}); set `--space`") from None
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path.name} holds no settings, expected such as `model.init_args.lr: {{low: 1.0e-4, high: 1.0e-2}}`"
        )
    for setting, entry in content.items():
        if not isinstance(entry, dict) or set(entry) not in _ENTRY_KEYS or not _is_range(entry):
            raise ValueError(
                f"got {setting}: {entry!r} in {path.name}, expected {{choices: [...]}}, or {{low, high}} in rising "
                "order with step or log"
            )
    return {str(setting): entry for setting, entry in content.items()}


def _is_range(entry: Mapping[str, Any]) -> bool:
    if "choices" in entry:
        return isinstance(entry["choices"], list) and bool(entry["choices"])
    bounds = [entry["low"], entry["high"], entry.get("step", 1)]
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in bounds)
    return numbers and entry["low"] <= entry["high"] and bounds[2] > 0 and (entry["low"] > 0 or not entry.get("log"))


def _draw(trial: optuna.Trial, setting: str, entry: Mapping[str, Any]) -> Any:
    if "choices" in entry:
        # As JSON text, because Optuna stores only numbers and text.
        texts = [json_format.dumps(choice) for choice in entry["choices"]]
        return json_format.loads(trial.suggest_categorical(setting, texts))
    is_integer = all(isinstance(entry[key], int) for key in ("low", "high"))
    log = bool(entry.get("log"))
    if is_integer:
        return trial.suggest_int(setting, entry["low"], entry["high"], step=entry.get("step", 1), log=log)
    return trial.suggest_float(setting, entry["low"], entry["high"], step=entry.get("step"), log=log)


def _value_of(report: Mapping[str, Any], metric: str, out: Path) -> float:
    """Return a metric of a run: that of its best weights if it chose them, otherwise the last value.

    The latter is logged to the run under the name that the former has, so that one column shows all trials.
    """
    best = report.get("best")
    if best is not None and best["metric"] == metric:
        return float(best["value"])
    client = MlflowClient(resolve_uri(given=report["tracking_uri"], out=Path()))
    metrics = client.get_run(report["mlflow_run_id"]).data.metrics
    if metric not in metrics:
        raise ValueError(f"the runs have no metric {metric!r}, they have {sorted(metrics)}; set `--metric`")
    add_to_run(report["tracking_uri"], report["mlflow_run_id"], out, {f"best/{metric}": metrics[metric]})
    return metrics[metric]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json_format.dumps(value)


def _best_word(value: Any) -> str:
    """Return the argument for a value of Optuna, in which choices are JSON text."""
    return _word(json_format.loads(value) if isinstance(value, str) else value)


def _describe(study: optuna.Study, metric: str, parent: RunLogger, following: Sequence[str]) -> None:
    """Describe the sweep in MLflow: the settings, the best trial and the command that trains with its settings."""
    settings = ", ".join(map(code, study.best_params))
    way = "lowest" if study.direction.name == "MINIMIZE" else "highest"
    log_section(
        parent, QUESTION, f"Sweep for the {way} {metric} over {settings}: {len(study.trials)} trials, which are the "
        f"children of this run, with their results in the column {code(f'best/{metric}')}.\n\n"
        f"Best {code(metric)}: **{study.best_value:.4g}**, in trial {study.best_trial.number + 1}.",
    )  # fmt: skip
    chosen = "\n".join(f"- {code(setting)}: {value}" for setting, value in study.best_params.items())
    log_section(parent, RESULT, f"Best settings:\n\n{chosen}")
    log_section(parent, NEXT, code_block(short_command(following)))
    log_section(parent, REPEAT, code_block(short_command()))


def _print_trials(study: optuna.Study, metric: str, parent: RunLogger, console: Console, json: Path | None) -> None:
    done = [trial for trial in study.trials if trial.value is not None]
    failed = len(study.trials) - len(done)
    if not done:
        raise ValueError(
            f"all {failed} trials failed, for the reasons above; correct the space or the arguments of fit"
        )
    order = sorted(done, key=lambda trial: trial.value or 0.0, reverse=study.direction.name == "MAXIMIZE")
    table = Table("trial", metric, *study.best_params)
    for trial in order[:10]:
        table.add_row(str(trial.number + 1), f"{trial.value:.6g}", *map(str, trial.params.values()))
    console.print(table)
    parent.log_hyperparams({"trials": len(study.trials), "failed": failed, **study.best_params})
    parent.log_metrics({f"best/{metric}": float(study.best_value)})
    if json is not None:
        rows = [{"trial": trial.number + 1, "value": trial.value, **trial.params} for trial in study.trials]
        write_result(json, {"best": study.best_params, "trials": rows})
