"""Print scores as a table in a terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from polyclinic.deploy.scores import EstimateScore, FindingScore, StudyScores

_UNKNOWN = "-"
_MAX_CONTRIBUTIONS = 2


def print_scores(scores: StudyScores, console: Console) -> None:
    """Print the findings, those with the highest probability first, the estimates, reasons to abstain and notes."""
    ordered = sorted(scores.findings, key=_rank, reverse=True)
    if ordered:
        _print_findings(ordered, console)
    if scores.estimates:
        _print_estimates(scores.estimates, console)
    reasons: dict[str | None, list[str]] = {}
    answers: list[FindingScore | EstimateScore] = [*ordered, *scores.estimates]
    for answer in answers:
        reasons.setdefault(answer.reason, []).append(answer.name)
    for reason, names in reasons.items():
        if reason is not None:
            console.print(f"abstains on {', '.join(names)}: {reason}", markup=False, soft_wrap=True)
    for note in scores.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _print_findings(findings: Sequence[FindingScore], console: Console) -> None:
    table = Table("finding", "probability", "score", "answer", "mostly from")
    for finding in findings:
        table.add_row(
            finding.name,
            _probability(finding),
            f"{finding.score:+.2f}",
            finding.decision or "abstains",
            _contributions(finding.contributions),
        )
    console.print(table)


def _print_estimates(estimates: Sequence[EstimateScore], console: Console) -> None:
    table = Table("estimate", "value", "interval", "answer", "mostly from")
    for estimate in estimates:
        table.add_row(
            estimate.name,
            f"{estimate.value:.4g} {estimate.unit}".strip(),
            _UNKNOWN if estimate.interval is None else f"{estimate.interval[0]:.4g} to {estimate.interval[1]:.4g}",
            "abstains" if estimate.abstained else estimate.level or "estimated",
            _contributions(estimate.contributions),
        )
    console.print(table)


def _rank(finding: FindingScore) -> tuple[bool, float]:
    return finding.probability is not None, finding.score if finding.probability is None else finding.probability


def _percent(probability: float | None) -> str:
    if probability is None:
        return _UNKNOWN
    return "<1 %" if probability < 0.01 else ">99 %" if probability > 0.99 else f"{probability:.0%}"


def _probability(finding: FindingScore) -> str:
    if finding.interval is None:
        return _percent(finding.probability)
    return f"{_percent(finding.probability)} ({_percent(finding.interval[0])} to {_percent(finding.interval[1])})"


def _contributions(contributions: Mapping[str, float]) -> str:
    ordered = sorted(contributions.items(), key=lambda item: -abs(item[1]))
    return ", ".join(f"{name} {share:+.1f}" for name, share in ordered[:_MAX_CONTRIBUTIONS])
