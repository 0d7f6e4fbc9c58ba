"""Reports as tables for a terminal, and as plain JSON."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from polyclinic.evaluation.intervals import Interval
from polyclinic.evaluation.probe import ProbeReport
from polyclinic.evaluation.reconstruction import ReconstructionReport
from polyclinic.evaluation.retrieval import Accuracy, RetrievalReport, RetrievalResult
from polyclinic.evaluation.zeroshot import ZeroShotReport


def print_zero_shot(report: ZeroShotReport, console: Console) -> None:
    """Print one row per finding and the mean; a dash stands for what is undefined."""
    title = f"Zero-shot: {report.studies:,} studies of {report.patients:,} patients"
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


def print_retrieval(report: RetrievalReport, console: Console) -> None:
    """Print one row per number of candidates."""
    title = f"Retrieval: {report.queries:,} studies of {report.patients:,} patients"
    table = Table(title=title, caption=_caption(report.resamples, report.seed))
    for heading in ("candidates", "top-1", "95 % CI", "chance", "top-5", "95 % CI", "chance", "median rank"):
        table.add_column(heading, justify="right")
    for result in (report.sampled, report.all):
        table.add_row(*_retrieval_cells(result))
    console.print(table)


def print_reconstruction(report: ReconstructionReport, console: Console) -> None:
    """Print one row per modality, mask and method."""
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
    """Print one row per finding, and the mean."""
    title = f"Linear probe of {report.modality}: {report.trained.studies:,} studies"
    table = Table("finding", title=title, caption=_caption(report.trained.resamples, report.trained.seed))
    for heading in ("AUROC", "95 % CI", "random weights", "95 % CI"):
        table.add_column(heading, justify="right")
    for one, other in zip(report.trained.findings, report.random.findings, strict=True):
        cells = (_number(one.auroc), _interval(one.ci95), _number(other.auroc), _interval(other.ci95))
        table.add_row(one.name, *cells)
    table.add_section()
    means = [
        cell
        for part in (report.trained, report.random)
        for cell in (_number(part.macro_auroc), _interval(part.macro_ci95))
    ]
    table.add_row("mean", *means)
    console.print(table)
    console.print(f"gain over random weights: {_number(report.gain)} ({_interval(report.gain_ci95)})")


def as_json(report: ZeroShotReport | RetrievalReport | ReconstructionReport | ProbeReport) -> dict[str, Any]:
    """A report as plain JSON values.

    NaN becomes null; ``undefined_values`` beside the report's own keys counts them, and every interval carries how
    many of its resamples were undefined.
    """
    plain, undefined = _plain(report)
    return {**plain, "undefined_values": undefined}


def _retrieval_cells(result: RetrievalResult) -> tuple[str, ...]:
    return (
        f"{result.candidates:,.5g}",
        *_accuracy_cells(result.top1),
        *_accuracy_cells(result.top5),
        f"{result.median_rank:,.1f}",
    )


def _accuracy_cells(accuracy: Accuracy | None) -> tuple[str, str, str]:
    if accuracy is None:
        return ("-", "-", "-")
    return (_number(accuracy.value), _interval(accuracy.ci95), _number(accuracy.chance))


def _caption(resamples: int, seed: int) -> str:
    return f"intervals: {resamples:,} resamples of patients, seed {seed}"


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _interval(interval: Interval, digits: int = 3) -> str:
    return "-" if math.isnan(interval.low) else f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _percents(interval: Interval) -> str:
    return "-" if math.isnan(interval.low) else f"{interval.low:.1%} to {interval.high:.1%}"


def _plain(value: Any) -> tuple[Any, int]:
    """JSON values and how many of them were NaN."""
    if isinstance(value, Interval):
        return _plain(value._asdict())
    if is_dataclass(value):
        return _plain({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, dict):
        parts = {key: _plain(part) for key, part in value.items()}
        return {key: part for key, (part, _) in parts.items()}, sum(count for _, count in parts.values())
    if isinstance(value, tuple):
        listed = [_plain(part) for part in value]
        return [part for part, _ in listed], sum(count for _, count in listed)
    if isinstance(value, float) and math.isnan(value):
        return None, 1
    return value, 0
