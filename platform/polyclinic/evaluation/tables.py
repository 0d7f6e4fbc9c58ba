"""Output of reports: tables for a terminal, and plain JSON."""

import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from polyclinic.evaluation.baseline.report import BaselineReport
from polyclinic.evaluation.cross_validation import FoldedReport
from polyclinic.evaluation.metrics.agreement import AgreementResult
from polyclinic.evaluation.metrics.intervals import Interval
from polyclinic.evaluation.probing.probe import ProbeReport
from polyclinic.evaluation.probing.reconstruction import ReconstructionReport
from polyclinic.evaluation.retrieval.candidates import CandidateSetReport
from polyclinic.evaluation.retrieval.linkage import LinkageReport
from polyclinic.evaluation.retrieval.retrieval import Accuracy, RetrievalReport
from polyclinic.evaluation.retrieval.variations import RankSpread
from polyclinic.evaluation.zeroshot import ZeroShotReport

_METHODS = {"linear": "Linear probe", "neighbours": "Nearest neighbours"}


def print_zero_shot(report: ZeroShotReport, console: Console, *, title: str = "Zero-shot") -> None:
    """Print a table with a row per finding and their mean; a dash means undefined."""
    title = f"{title}: {report.studies:,} studies of {report.patients:,} patients"
    table = Table("finding", title=title, caption=_caption(report.resamples, report.seed))
    for heading in ("AUROC", "95 % CI", "accuracy", "studies", "positive", "undefined", "spread"):
        table.add_column(heading, justify="right")
    for finding in report.findings:
        counts = (f"{finding.n:,}", f"{finding.n_positive:,}", f"{finding.undefined_resamples:,}")
        numbers = (_number(finding.auroc), _interval(finding.ci95), _number(finding.accuracy))
        table.add_row(finding.name, *numbers, *counts, _number(finding.prompt_spread))
    table.add_section()
    mean = f"mean of {report.findings_used} of {len(report.findings)}"
    undefined = f"{report.macro_ci95.undefined:,}"
    table.add_row(mean, _number(report.macro_auroc), _interval(report.macro_ci95), "", "", "", undefined, "")
    console.print(table)


def print_folds(report: FoldedReport, console: Console, left_out: Sequence[str] = ()) -> None:
    """Print a table with a row per finding and their mean: AUROC within folds, averaged over folds.

    Args:
        report: results of a cross-validation.
        console: where to print.
        left_out: value of the group of each fold, whose mean AUROC is printed below; empty names print nothing.
    """
    title = f"{report.folds} folds: {report.studies:,} studies of {report.patients:,} patients"
    table = Table(title=title, caption=_caption(report.resamples, report.seed))
    table.add_column("finding", overflow="fold")
    for heading in ("AUROC", "95 % CI", "lowest fold", "highest fold", "studies", "positive"):
        table.add_column(heading, justify="right")
    for finding in report.findings:
        defined = [value for value in finding.by_fold if value == value]
        ends = [_number(end(defined)) if defined else "-" for end in (min, max)]
        numbers = (_number(finding.auroc.value), _interval(finding.auroc.ci95))
        table.add_row(finding.name, *numbers, *ends, f"{finding.n:,}", f"{finding.n_positive:,}")
    table.add_section()
    table.add_row("mean", _number(report.macro.value), _interval(report.macro.ci95), "", "", "", "")
    console.print(table)
    for number, value in enumerate(left_out):
        aurocs = [finding.by_fold[number] for finding in report.findings]
        if value and (defined := [auroc for auroc in aurocs if auroc == auroc]):
            console.print(f"{value}: mean AUROC {_number(sum(defined) / len(defined))}", markup=False)


def print_baseline(report: BaselineReport, console: Console) -> None:
    """Print a table with a row per label, and whether the trained model beats the simple ones."""
    title = f"Baseline: trained on {report.trained:,} studies of train and val, {report.studies:,} tested"
    table = Table(title=title, caption=_caption(report.resamples, report.seed))
    table.add_column("label", overflow="fold")
    names, with_model = list(report.features), any(label.model is not None for label in report.labels)
    of_model = ["model", "gain", "95 % CI"] if with_model else []
    for heading in (*names, *(["joined"] if len(names) > 1 else []), "95 % CI", *of_model):
        table.add_column(heading, justify="right")
    for label in report.labels:
        cells = [_number(label.by_modality[name].value) if name in label.by_modality else "-" for name in names]
        cells += [_number(label.joined.value)] if len(names) > 1 else []
        cells.append(_interval(label.joined.ci95))
        if label.model is not None and label.gain is not None:
            cells += [_number(label.model.value), f"{label.gain.value:+.3f}", _interval(label.gain.ci95)]
        unit = f" ({label.unit})" if label.unit else ""
        table.add_row(label.name if label.measure == "auroc" else f"{label.name}, mean error{unit}", *cells)
    if report.macro == report.macro:
        table.add_section()
        alone = [""] * (len(names) if len(names) > 1 else 0)
        of_gain = (
            [] if report.macro_gain is None else [f"{report.macro_gain.value:+.3f}", _interval(report.macro_gain.ci95)]
        )
        of_model = [] if report.macro_model is None else [_number(report.macro_model), *of_gain]
        table.add_row("mean AUROC", *alone, _number(report.macro), "", *of_model)
    console.print(table)
    for name, features in report.features.items():
        console.print(f"{name}: {features}", markup=False)
    if report.left_out:
        console.print(f"without a simple model: {', '.join(report.left_out)}", markup=False)
    if report.verdict:
        console.print(report.verdict, style="bold", markup=False)


def print_agreement(results: Sequence[AgreementResult], console: Console) -> None:
    """Print a table with a row per label and measure, for classes, levels and quantities."""
    table = Table("label", "measure", title="Classes, levels, quantities")
    for heading in ("value", "95 % CI", "studies"):
        table.add_column(heading, justify="right")
    for result in results:
        for name, measure in result.measures.items():
            unit = f" ({result.unit})" if result.unit and "error" in name else ""
            table.add_row(result.name, name + unit, _number(measure.value), _interval(measure.ci95), f"{result.n:,}")
    console.print(table)


def print_retrieval(report: RetrievalReport, console: Console) -> None:
    """Print a table with a row per number of candidates and k."""
    title = f"Retrieval: {report.queries:,} studies of {report.patients:,} patients"
    table = Table(title=title, caption=_caption(report.resamples, report.seed))
    for heading in ("candidates", "MRR", "median rank", "first k", "recall", "95 % CI", "chance"):
        table.add_column(heading, justify="right")
    for result in (report.sampled, report.all):
        numbers = (f"{result.candidates:,.5g}", f"{result.mrr.value:.3f}", f"{result.median_rank:,.1f}")
        for place, (first, accuracy) in enumerate(result.recall.items()):
            table.add_row(*(numbers if place == 0 else ("", "", "")), str(first), *_accuracy_cells(accuracy, first))
        table.add_section()
    console.print(table)


def print_candidate_sets(report: CandidateSetReport, console: Console) -> None:
    """Print a table with a row per k, with intervals over patients and over queries."""
    title = f"Retrieval among given candidates: {report.queries:,} queries of {report.patients:,} patients"
    table = Table(title=title, caption=f"{report.resamples:,} resamples, seed {report.seed}")
    for heading in (
        "candidates",
        "MRR",
        "median rank",
        "first k",
        "recall",
        "95 % CI, patients",
        "95 % CI, queries",
        "chance",
    ):
        table.add_column(heading, justify="right")
    given = report.given
    numbers = (f"{given.candidates:,.5g}", f"{given.mrr.value:.3f}", f"{given.median_rank:,.1f}")
    for place, (first, accuracy) in enumerate(given.recall.items()):
        value, interval, chance = _accuracy_cells(accuracy, first)
        of_queries = _accuracy_cells(report.by_query.recall[first], first)[1]
        table.add_row(*(numbers if place == 0 else ("", "", "")), str(first), value, interval, of_queries, chance)
    console.print(table)
    if report.left_out:
        console.print(f"warning: {report.left_out:,} sets were left out, as a study in them lacks a modality")
    if report.same_patient:
        console.print(f"{report.same_patient:,} of the given distractors are of the query's own patient")


def print_rank_spread(spread: RankSpread, console: Console) -> None:
    """Print the standard deviation of the target's rank over variations of the query."""
    console.print(
        f"standard deviation of the rank among all studies over {spread.texts} variations of {spread.modality}, "
        f"mean of {spread.studies:,} studies: {spread.rank:.2f} ({_interval(spread.rank_ci95, 2)}); as a share of the "
        f"candidates: {_number(spread.normalised)} ({_interval(spread.normalised_ci95)})"
    )


def print_linkage(report: LinkageReport, first: str, second: str, console: Console) -> None:
    """Print the quality of linkage by patient and by study, side by side."""
    title = f"Linkage: {report.first_files:,} files of {first}, {report.second_files:,} of {second}"
    table = Table("pairs of one", title=title, caption=_caption(report.resamples, report.seed))
    qualities = (report.by_patient, report.by_study)
    for name in ("patient", "study"):
        table.add_column(name, justify="right")
        table.add_column("95 % CI", justify="right")
    for name in ("precision", "recall", "f1"):
        cells = [(_number(getattr(part, name)), _interval(getattr(part, f"{name}_ci95"))) for part in qualities]
        table.add_row(name, *cells[0], *cells[1])
    table.add_section()
    table.add_row("right", *(cell for part in qualities for cell in (f"{part.right:,} of {part.pairs:,}", "")))
    table.add_row("precision by chance", *(cell for part in qualities for cell in (f"{part.chance:.4f}", "")))
    console.print(table)
    console.print(f"{report.asserted:,} pairs asserted, with scores of at least {report.threshold:.4g}")


def print_reconstruction(report: ReconstructionReport, console: Console) -> None:
    """Print a table with a row per modality, mask and method."""
    table = Table(title="Reconstruction", caption=_caption(report.resamples, report.seed))
    for heading in ("modality", "hidden", "method"):
        table.add_column(heading)
    for heading in ("loss", "95 % CI", "less than mean fill", "95 % CI", "studies", "tokens"):
        table.add_column(heading, justify="right")
    for result in report.results:
        for method, error in result.errors.items():
            saved = (f"{error.against_mean_fill:.1%}", _percents(error.against_ci95))
            counts = (f"{result.studies:,}", f"{result.tokens:,}")
            table.add_row(
                result.name, result.mask, method, f"{error.value:.4f}", _interval(error.ci95, 4), *saved, *counts
            )
        table.add_section()
    console.print(table)


def print_probe(report: ProbeReport, console: Console) -> None:
    """Print a table with a row per finding, the mean, and the gain over random weights."""
    title = f"{_METHODS[report.method]} of {report.modality}: {report.trained.studies:,} studies"
    table = Table("finding", title=title, caption=_caption(report.trained.resamples, report.trained.seed))
    for heading in ("AUROC", "95 % CI", "random weights", "95 % CI"):
        table.add_column(heading, justify="right")
    for trained, random in zip(report.trained.findings, report.random.findings, strict=True):
        cells = (_number(trained.auroc), _interval(trained.ci95), _number(random.auroc), _interval(random.ci95))
        table.add_row(trained.name, *cells)
    table.add_section()
    means = [
        cell
        for part in (report.trained, report.random)
        for cell in (_number(part.macro_auroc), _interval(part.macro_ci95))
    ]
    table.add_row("mean", *means)
    console.print(table)
    console.print(f"gain over random weights: {_number(report.gain)} ({_interval(report.gain_ci95)})")


def as_json(report: Any) -> dict[str, Any]:
    """Convert a report to plain JSON values.

    NaN becomes null and is counted by the additional key ``undefined_values``; every interval includes the number of
    its undefined resamples. An infinite limit becomes null as well, but is defined and not counted.
    """
    plain, undefined = _plain(report)
    return {**plain, "undefined_values": undefined}


def _accuracy_cells(accuracy: Accuracy | None, first: int) -> tuple[str, str, str]:
    if accuracy is None:
        return ("-", f"not more than {first}", "-")
    return (_number(accuracy.value), _interval(accuracy.ci95), _number(accuracy.chance))


def _caption(resamples: int, seed: int) -> str:
    return f"intervals: {resamples:,} resamples of patients, seed {seed}"


def _number(value: float | None) -> str:
    # Adding zero makes -0.0004 of rounding print as 0.000.
    return "-" if value is None or math.isnan(value) else f"{round(value, 3) + 0.0:.3f}"


def _interval(interval: Interval, digits: int = 3) -> str:
    return "-" if math.isnan(interval.low) else f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _percents(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{interval.low:.1%} to {interval.high:.1%}"


def _plain(value: Any) -> tuple[Any, int]:
    """Return JSON values and the number of NaNs among them."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if is_dataclass(value):
        return _plain({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, dict):
        parts = {key: _plain(part) for key, part in value.items()}
        return {str(key): part for key, (part, _) in parts.items()}, sum(count for _, count in parts.values())
    if isinstance(value, tuple | list):
        entries = [_plain(part) for part in value]
        return [part for part, _ in entries], sum(count for _, count in entries)
    if isinstance(value, float) and not math.isfinite(value):
        return None, int(math.isnan(value))
    return value, 0
