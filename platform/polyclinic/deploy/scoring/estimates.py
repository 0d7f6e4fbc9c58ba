"""Estimates of levels and quantities, with their conformal intervals."""

from polyclinic.deploy.bundle import EstimateRule, Label
from polyclinic.deploy.scores import EstimateScore


def estimate_score(
    label: Label, value: float, rule: EstimateRule, unfamiliar: str | None, contributions: dict[str, float]
) -> EstimateScore:
    """Return the estimate of a level or quantity.

    Args:
        label: level or quantity.
        value: expected level, counted from 0, or quantity in its unit.
        rule: rule of the modalities of the study.
        unfamiliar: statement that the study is out of distribution; None if it is not.
        contributions: Shapley value by modality.
    """
    reason = unfamiliar or rule.problem
    return EstimateScore(
        name=label.name,
        unit=label.unit,
        levels=tuple(label.names),
        value=value,
        level=_nearest(label, value),
        interval=_interval(label, value, rule.half_width),
        abstained=reason is not None,
        reason=reason,
        contributions=contributions,
        error=rule.error,
    )


def _nearest(label: Label, value: float) -> str | None:
    return label.names[min(int(value + 0.5), len(label.names) - 1)] if label.names else None


def _interval(label: Label, value: float, half_width: float | None) -> tuple[float, float] | None:
    if half_width is None:
        return None
    low, high = value - half_width, value + half_width
    # No level lies beyond the first and the last, so that the coverage is the same.
    return (max(low, 0.0), min(high, len(label.names) - 1.0)) if label.names else (low, high)
