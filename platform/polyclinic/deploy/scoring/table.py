"""Print scores as a table in a terminal."""

from rich.console import Console
from rich.table import Table

from polyclinic.deploy.scores import FindingScore, StudyScores

_UNKNOWN = "-"
_MAX_CONTRIBUTIONS = 2


def print_scores(scores: StudyScores, console: Console) -> None:
    """Print the findings, those with the highest probability first, then reasons to abstain and notes."""
    table = Table("finding", "probability", "score", "answer", "mostly from")
    ordered = sorted(scores.findings, key=_rank, reverse=True)
    for finding in ordered:
        table.add_row(
            finding.name,
            _probability(finding),
            f"{finding.score:+.2f}",
            finding.decision or "abstains",
            _contributions(finding),
        )
    console.print(table)
    reasons: dict[str | None, list[str]] = {}
    for finding in ordered:
        reasons.setdefault(finding.reason, []).append(finding.name)
    for reason, names in reasons.items():
        if reason is not None:
            console.print(f"abstains on {', '.join(names)}: {reason}", markup=False, soft_wrap=True)
    for note in scores.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


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


def _contributions(finding: FindingScore) -> str:
    ordered = sorted(finding.contributions.items(), key=lambda item: -abs(item[1]))
    return ", ".join(f"{name} {share:+.1f}" for name, share in ordered[:_MAX_CONTRIBUTIONS])
