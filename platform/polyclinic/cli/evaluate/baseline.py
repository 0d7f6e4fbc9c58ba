"""``polyclinic evaluate baseline``: simple models on the same studies, and whether a checkpoint beats them."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polyclinic.cli.options import ReportOptions, SplitOptions
from polyclinic.cli.report import check_overlap, write_report
from polyclinic.cohort import read_cohort
from polyclinic.cohort.phantom import every_modality
from polyclinic.data import CohortDataModule, LabelPolicy
from polyclinic.evaluation.baseline.predictions import predict_baseline
from polyclinic.evaluation.baseline.report import BaselineReport, baseline_report, folds_verdict
from polyclinic.evaluation.metrics.intervals import Estimate, Interval
from polyclinic.evaluation.supervised import predict_split
from polyclinic.evaluation.tables import as_json, print_baseline
from polyclinic.files.results import refuse_unwritable, write_result
from polyclinic.modality import HasBaseline
from polyclinic.system.terminal import Console, remark
from polyclinic.training.restore import Restored, restore


def baseline(
    path: Path,
    options: ReportOptions,
    labels: list[str] | None = None,
) -> None:
    """Measure simple models, and compare a checkpoint with them: polyclinic evaluate baseline best.ckpt

    One simple model per modality and label is trained on the studies of train and val, with settings from
    cross-validation over their patients, and a linear model joins the modalities of each study.

    Args:
        path: checkpoint of a downstream run, or a cohort.yaml, whose uncertain findings then count as unknown.
        options: studies to evaluate, and the file for the report.
        labels: labels to use with a cohort.yaml; all unless set.
    """
    refuse_unwritable(options.json)
    started = time.monotonic()
    if path.suffix in (".yaml", ".yml"):
        _of_cohort(path, options, labels, started)
    else:
        _of_checkpoint(path, options, started)


def _of_cohort(path: Path, options: ReportOptions, labels: list[str] | None, started: float) -> None:
    cohort, console = read_cohort(path), Console()
    plugins = every_modality()
    known = {name: plugins[name] for name in cohort.modalities if name in plugins}
    if unknown := [name for name in cohort.modalities if name not in plugins]:
        remark(f"left out: no plugin is called {', '.join(unknown)}")
    policy = LabelPolicy(uncertain="ignore")
    data = CohortDataModule(cohort=path, modalities=known, labels=labels, label_policy=policy, seed=options.seed)
    data.setup("predict")
    report = baseline_report(
        predict_baseline(data, options.split, seed=options.seed), None, resamples=options.resamples, seed=options.seed
    )
    print_baseline(report, console)
    if options.json is not None:
        write_result(options.json, _content(report, options, started))


def _of_checkpoint(path: Path, options: ReportOptions, started: float) -> None:
    restored, console = restore(path, cohort=options.cohort), Console()
    overlap = check_overlap(restored, options.split, allowed=options.allow_overlap)
    report = compare(restored, options)
    print_baseline(report, console)
    metrics = {f"{options.split}/baseline_macro_auroc": Estimate(report.macro, Interval(math.nan, math.nan, 0))}
    if report.macro_gain is not None:
        metrics[f"{options.split}/gain_over_baseline"] = report.macro_gain
    write_report(
        restored, "baseline", _content(report, options, started), metrics, {}, options.json, overlap=overlap
    )  # fmt: skip


def compare_if_possible(restored: Restored, options: SplitOptions) -> tuple[BaselineReport | None, str]:
    """Return the comparison of a supervised checkpoint with the baseline, and its verdict as a sentence.

    Without features for a simple model there is no comparison, which the sentence then says.
    """
    if not any(isinstance(modality, HasBaseline) for modality in restored.data.modalities.values()):
        return None, "The model was not compared with a baseline, as no plugin of its modalities has one."
    remark("fitting the baseline")
    report = compare(restored, options)
    return report, report.verdict or "The model was not compared with a baseline, as no label could be compared."


def verdict_if_possible(every: Sequence[Restored], options: SplitOptions) -> str:
    """Return the verdict on a supervised checkpoint, or on those of several folds, each with its own baseline."""
    compared = [compare_if_possible(restored, options) for restored in every]
    reports = [report for report, _ in compared if report is not None]
    return compared[0][1] if len(reports) < 2 else folds_verdict(reports)


def compare(restored: Restored, options: SplitOptions) -> BaselineReport:
    """Return the baseline of the cohort of a supervised checkpoint, and the comparison with it."""
    predicted = predict_split(restored, options.split, list(restored.data.modalities))
    simple = predict_baseline(restored.data, options.split, seed=options.seed)
    place = {study: row for row, study in enumerate(predicted.study_ids)}
    # A study whose sources are all broken has no prediction of the model either.
    order = np.array([place[study.study_id] for study in simple.studies])
    outputs = predicted.outputs.numpy()[order]
    names = [column.name for column in simple.columns]
    model = {name: outputs[:, column] for column, name in enumerate(names)}
    return baseline_report(simple, model, resamples=options.resamples, seed=options.seed)


def _content(report: BaselineReport, options: ReportOptions, started: float) -> dict[str, object]:
    return {"split": options.split, "seconds": round(time.monotonic() - started, 1), **as_json(report)}
