"""``polyclinic crossval``: train and test on every fold of a cohort, as children of one MLflow run."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from polyclinic.cli.child_runs import add_to_run, logger_words, run_fit, run_with_fits
from polyclinic.cli.configurations import read_configuration
from polyclinic.cli.report import check_overlap
from polyclinic.cohort import Cohort, read_cohort
from polyclinic.data import LabelPolicy
from polyclinic.evaluation.cross_validation import FoldedReport, folded_report
from polyclinic.evaluation.metrics.agreement import AgreementResult, agreement_report, binary_columns
from polyclinic.evaluation.metrics.intervals import Estimate
from polyclinic.evaluation.supervised import PredictedSplit, predict_split
from polyclinic.evaluation.tables import as_json, print_agreement, print_folds
from polyclinic.files.results import refuse_unwritable, write_result
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.tasks import Downstream
from polyclinic.tracking import RunLogger, log_json, log_section
from polyclinic.tracking.environment import short_command
from polyclinic.tracking.note import QUESTION, REPEAT, RESULT, code, code_block, metric_list
from polyclinic.tracking.uri import without_password
from polyclinic.training.restore import Restored, restore

_MACRO = "crossval/macro_auroc"
_MAX_PARALLEL = 4


class Fold(NamedTuple):
    """A trained fold, and its predictions for the test studies; ``left_out`` is their value of the group, if any."""

    left_out: str
    checkpoint: Path
    restored: Restored
    predicted: PredictedSplit


def main(argv: Sequence[str]) -> None:
    """Run the ``crossval`` command; options unknown to it are passed to every ``fit``."""
    run_with_fits(crossval, argv[1:], prog="polyclinic crossval")


def crossval(
    name: str = "crossval",
    experiment: str = "polyclinic",
    out: Path = Path("runs"),
    tracking_uri: str | None = None,
    parallel: int | None = None,
    predictions: Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
    json: Path | None = None,
    words: Sequence[str] = (),
) -> None:
    """Cross-validate a supervised model: polyclinic crossval -c c.yaml

    The cohort file sets the folds: `split: {folds: 5}`, or `split: {leave_out: site}`. Each fold is a run of fit, and
    tests the best weights on the patients of the fold.

    Args:
        name: name of the MLflow run.
        experiment: MLflow experiment.
        out: folder of the runs.
        tracking_uri: address of MLflow, as for `fit`.
        parallel: number of folds to train at the same time, which share the cores; 1 with a GPU, else up to 4.
        predictions: Parquet file for the out-of-fold predictions.
        resamples: number of bootstrap resamples of patients, for the intervals.
        seed: seed of the resamples; `fit` has a separate seed.
        json: file for the report.
        words: arguments of every `fit`, such as a configuration.

    Raises:
        ValueError: the cohort has no folds, a label cannot be learned in a fold, or a fit fails.
    """
    refuse_unwritable(json)
    refuse_unwritable(predictions, "--predictions")
    folds = _folds(words)
    together = _parallel(parallel, folds)
    if tracking_uri is not None and tracking_uri != without_password(tracking_uri):
        # Passed by environment, so that the password is not on the command line of a fit.
        os.environ["MLFLOW_TRACKING_URI"] = tracking_uri
    parent = RunLogger(
        experiment=experiment, out=out, tracking_uri=tracking_uri, run_name=name, system_metrics=False
    )  # fmt: skip
    shared = [*words, *logger_words(parent, experiment, out)]
    console, status = Console(), "failed"
    try:
        trained = _train(folds, together, name, shared, console)
        report, agreement = _measured(trained, resamples, seed)
        content = {
            **({} if report is None else as_json(report)),
            **({"left_out": [fold.left_out for fold in trained]} if trained[0].left_out else {}),
            "agreement": [as_json(result) for result in agreement],
            "checkpoints": [str(fold.checkpoint) for fold in trained],
        }
        if report is not None:
            print_folds(report, console, [fold.left_out for fold in trained])
        if agreement:
            print_agreement(agreement, console)
        log_json(parent, content, "evaluation/crossval.json")
        metrics = _metrics(report, agreement)
        parent.log_metrics({metric: estimate.value for metric, estimate in metrics.items()})
        _describe(parent, trained, metrics)
        if report is not None:
            _log_folds(trained, report, out)
        console.print(f"run: {parent.place}", markup=False, soft_wrap=True)
        if predictions is not None:
            _table(trained).to_parquet(predictions, index=False)
        if json is not None:
            write_result(json, content)
            print_next("polyclinic", "bundle", "export", json, "--out", "bundle")
        status = "success"
    finally:
        parent.finalize(status)


def _folds(words: Sequence[str]) -> int:
    """Return the number of folds of the cohort of a fit, after a check of its labels in each of them."""
    settings = _data_settings(words)
    if "cohort" not in settings:
        raise ValueError("got no cohort; set `data.cohort` in the configuration, or `--data.cohort`")
    path = Path(str(settings["cohort"]))
    first = read_cohort(path)
    if not first.folds:
        raise ValueError(
            f"{path.name} has no folds; set its `split` to `{{folds: 5}}`, or `{{leave_out: GROUP}}` for a fold of "
            "each value of a group"
        )
    policy, chosen = LabelPolicy(**(settings.get("label_policy") or {})), settings.get("labels")
    for number in range(first.folds):
        cohort = first if number == 0 else read_cohort(path, fold=number)
        _refuse_constant(cohort, number, policy, chosen if isinstance(chosen, list) else list(cohort.labels))
    return first.folds


def _data_settings(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings under ``data`` that the arguments of a fit name; the last one counts."""
    settings: dict[str, Any] = {}
    for flag, value in _options(words):
        if flag in ("-c", "--config") and Path(value).exists():
            data = read_configuration(Path(value)).get("data")
            settings |= dict(data) if isinstance(data, Mapping) else {}
        elif flag.startswith("--data."):
            *parents, key = flag.removeprefix("--data.").split(".")
            place = settings
            for parent in parents:
                place[parent] = dict(place.get(parent) or {})
                place = place[parent]
            place[key] = load_yaml(value.encode(), name=flag)
    return settings


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return the options of a command line with their values."""
    pairs = []
    for place, word in enumerate(words):
        if word.startswith("-"):
            flag, equals, value = word.partition("=")
            pairs.append((flag, value if equals else next(iter(words[place + 1 :]), "")))
    return pairs


def _refuse_constant(cohort: Cohort, fold: int, policy: LabelPolicy, chosen: Sequence[str]) -> None:
    """Refuse a label with a single value in the training studies of a fold, before anything is trained."""
    studies = policy.apply(cohort.split("train"), cohort.targets, training=True)
    values = np.array([study.labels for study in studies]).reshape(len(studies), len(cohort.targets))
    for target, column in zip(cohort.targets, values.T, strict=True):
        distinct = np.unique(column[~np.isnan(column)])
        if target.name in chosen and len(distinct) < 2:
            shown = f"only the value {distinct[0]:g}" if len(distinct) else "no known value"
            raise ValueError(
                f"label {target.name!r} has {shown} in the {len(studies)} training studies of fold {fold}; set fewer "
                "folds, set `data.label_policy.blank` if a blank cell means absent, or remove it from `data.labels`"
            )


def _parallel(wanted: int | None, folds: int) -> int:
    """Return the number of folds to train at the same time.

    A fit leaves cores idle while it imports and reads, so that folds side by side take less time than one after the
    other; on a GPU they would compete for its memory.
    """
    if wanted is not None and wanted < 1:
        raise ValueError(f"got parallel {wanted}, expected at least 1; set `--parallel`")
    if wanted is None:
        wanted = 1 if torch.cuda.is_available() else min(_MAX_PARALLEL, (os.cpu_count() or 1))
    return min(wanted, folds)


def _train(folds: int, together: int, name: str, words: Sequence[str], console: Console) -> list[Fold]:
    """Train every fold, some at the same time, and test each in order."""
    console.print(f"{folds} folds, {together} at a time", markup=False)
    threads = str(max(1, (os.cpu_count() or 1) // together))
    variables = {"OMP_NUM_THREADS": threads} if together > 1 and "OMP_NUM_THREADS" not in os.environ else {}

    def fit(number: int) -> tuple[Mapping[str, Any] | None, str]:
        fold_words = ["--trainer.logger.init_args.run_name", f"{name}-{number}", "--data.fold", str(number)]
        return run_fit([*words, *fold_words], variables)

    with ThreadPoolExecutor(together) as pool:
        fits = [pool.submit(fit, number) for number in range(folds)]
        try:
            return [_tested(number, folds, *each.result(), console) for number, each in enumerate(fits)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _tested(number: int, folds: int, report: Mapping[str, Any] | None, message: str, console: Console) -> Fold:
    """Test the best weights of a fold on its test studies."""
    if report is None:
        raise ValueError(f"fold {number} failed: {message.removeprefix('error: ')}")
    checkpoint = Path(report["checkpoint"])
    restored = restore(checkpoint)
    restored.task_of(Downstream)
    check_overlap(restored, "test", allowed=False)
    predicted = predict_split(restored, "test", list(restored.data.modalities))
    best = report.get("best")
    chosen = f"{best['metric']} {best['value']:.4f} at epoch {best['epoch']}; " if best else ""
    left_out = _left_out(restored.data.cohort)
    named = f", {restored.data.cohort.leave_out} {left_out}" if left_out else ""
    tested = f"{len(predicted.study_ids)} test studies"
    console.print(f"fold {number + 1} of {folds}{named}: {chosen}{tested}", markup=False)
    return Fold(left_out, checkpoint, restored, predicted)


def _left_out(cohort: Cohort) -> str:
    return cohort.split("test")[0].groups[cohort.leave_out] if cohort.leave_out else ""


def _measured(
    folds: Sequence[Fold], resamples: int, seed: int
) -> tuple[FoldedReport | None, tuple[AgreementResult, ...]]:
    """Return the AUROC of findings and classes within folds, and the agreement of the pooled other labels."""
    targets = folds[0].restored.data.targets
    outputs, labels = (
        np.concatenate([getattr(fold.predicted, part).numpy() for fold in folds]) for part in ("outputs", "labels")
    )
    patients = [patient for fold in folds for patient in fold.predicted.patient_ids]
    numbers = [number for number, fold in enumerate(folds) for _ in fold.predicted.study_ids]
    scores, truth, names = binary_columns(outputs, labels, targets)
    report = (
        folded_report(
            scores=scores, labels=truth, patient_ids=patients, folds=numbers, findings=names, resamples=resamples,
            seed=seed,
        )
        if names
        else None
    )  # fmt: skip
    agreement = agreement_report(
        predictions=outputs, labels=labels, targets=targets, patient_ids=patients, resamples=resamples, seed=seed
    )
    return report, agreement


def _metrics(report: FoldedReport | None, agreement: Sequence[AgreementResult]) -> dict[str, Estimate]:
    metrics = {} if report is None else {_MACRO: report.macro}
    for result in agreement:
        for name, measure in result.measures.items():
            metrics[f"crossval/{name.replace(' ', '_')}/{result.name}"] = measure
    return {name: estimate for name, estimate in metrics.items() if estimate.value == estimate.value}


def _describe(parent: RunLogger, folds: Sequence[Fold], metrics: Mapping[str, Estimate]) -> None:
    """Describe the cross-validation in MLflow: the cohort, the metrics with their intervals, and the command."""
    data = folds[0].restored.data
    log_section(
        parent, QUESTION, f"Cross-validation over {len(folds)} folds of cohort {code(data.cohort.name)} by "
        f"{', '.join(data.modalities)}. Its children are the folds; their column {code(_MACRO)} has their mean AUROC.",
    )  # fmt: skip
    rows = {name: (value, (ci95.low, ci95.high)) for name, (value, ci95) in metrics.items()}
    log_section(parent, RESULT, metric_list(rows))
    log_section(parent, REPEAT, code_block(short_command()))


def _log_folds(folds: Sequence[Fold], report: FoldedReport, out: Path) -> None:
    """Log the mean AUROC of each fold to its run, under the name that the run of the cross-validation has."""
    for number, fold in enumerate(folds):
        values = np.array([finding.by_fold[number] for finding in report.findings])
        if fold.restored.run_id is not None and not np.isnan(values).all():
            add_to_run(str(fold.restored.tracking_uri), fold.restored.run_id, out, {_MACRO: float(np.nanmean(values))})


def _table(folds: Sequence[Fold]) -> pd.DataFrame:
    columns = folds[0].restored.task_of(Downstream).targets.columns
    parts = []
    for number, fold in enumerate(folds):
        part = pd.DataFrame(fold.predicted.outputs.numpy(), columns=columns)
        part.insert(0, "fold", number)
        part.insert(0, "study_id", fold.predicted.study_ids)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
