"""Scores as a table for a terminal."""

from rich.console import Console
from rich.table import Table

from polyclinic.deploy.scoring.scores import FindingScore, StudyScores

_UNKNOWN = "-"
_SHOWN = 2


def print_scores(scores: StudyScores, console: Console) -> None:
    """The findings, those with the highest probability first."""
    table = Table("finding", "probability", "score", "answer", "mostly from")
    ordered = sorted(scores.findings, key=_rank, reverse=True)
    for one in ordered:
        table.add_row(one.name, _probability(one), f"{one.score:+.2f}", one.decision or "abstains", _parts(one))
    console.print(table)
    reasons: dict[str | None, list[str]] = {}
    for one in ordered:
        reasons.setdefault(one.reason, []).append(one.name)
    for reason, names in reasons.items():
        if reason is not None:
            console.print(f"abstains on {', '.join(names)}: {reason}", markup=False, soft_wrap=True)
    for note in scores.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _rank(one: FindingScore) -> tuple[bool, float]:
    return one.probability is not None, one.score if one.probability is None else one.probability


def _share(probability: float | None) -> str:
    if probability is None:
        return _UNKNOWN
    return "<1 %" if probability < 0.01 else ">99 %" if probability > 0.99 else f"{probability:.0%}"


def _probability(one: FindingScore) -> str:
    if one.interval is None:
        return _share(one.probability)
    return f"{_share(one.probability)} ({_share(one.interval[0])} to {_share(one.interval[1])})"


def _parts(one: FindingScore) -> str:
    ordered = sorted(one.contributions.items(), key=lambda item: -abs(item[1]))
    return ", ".join(f"{name} {share:+.1f}" for name, share in ordered[:_SHOWN])
