"""The model card of a bundle, with the licences of the distributions that it needs."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from packaging.requirements import Requirement

from polyclinic.deploy.bundle import BundleContent, DecisionRule, subset_key
from polyclinic.evaluation.metrics.intervals import Estimate, patient_resamples
from polyclinic.evaluation.metrics.operating import Threshold, operating_points
from polyclinic.evaluation.metrics.subgroups import Gap, SubgroupReport, subgroup_report
from polyclinic.evaluation.scorers import Scorable, Scorer
from polyclinic.evaluation.zeroshot import FindingResult, zero_shot_report

_ROOT = "polyclinic"
_LONGEST = 60


def licence_list(of_bundle: str) -> str:
    """A page in Markdown: the bundle's own licence, then every installed distribution that ``polyclinic`` needs."""
    lines = [
        "# Licences",
        "",
        f"This bundle: {of_bundle}",
        "",
        "It runs with these distributions, none of which is inside:",
        "",
        "| distribution | version | licence |",
        "|---|---|---|",
    ]
    lines += [f"| {one.name} | {one.version} | {licence_of(one)} |" for one in _needed()]
    return "\n".join(lines) + "\n"


def licence_of(found: Any) -> str:
    """As the distribution states it: an expression, else a classifier, else the first line of its licence field."""
    told = found.metadata
    if expression := told.get("License-Expression"):
        return str(expression)
    stated = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier") or () if one.startswith("License ::")]
    if stated:
        return ", ".join(dict.fromkeys(stated))
    first = str(told.get("License") or "").strip().splitlines()[:1]
    return first[0][:_LONGEST] if first else "not stated"


def _needed() -> list[Any]:
    """Distributions: ``polyclinic`` and what it requires here, directly or not, by name."""
    found: dict[str, Any] = {}
    waiting = [_ROOT]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += [
            one.name.lower().replace("_", "-")
            for one in map(Requirement, found[name].requires or ())
            if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return [found[name] for name in sorted(found)]


_TEMPLATE = "MODEL_CARD.md.jinja"
_UNKNOWN = "-"


@dataclass(frozen=True, kw_only=True)
class Performance:
    """One finding on the test split.

    Attributes:
        result: with all modalities that a study has.
        sensitivity: at the validation threshold, of studies with every modality; None without a threshold.
        specificity: likewise.
        subgroups: AUROC and more by group.
    """

    result: FindingResult
    sensitivity: Estimate | None
    specificity: Estimate | None
    subgroups: SubgroupReport


@dataclass(frozen=True, kw_only=True)
class Split:
    """The size of a split, and the share of its studies that have each modality."""

    name: str
    studies: int
    patients: int
    present: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What the card says besides the bundle's content.

    Attributes:
        split: that was reported.
        population: of the cohort; empty where it does not say.
        splits: of the cohort.
        overlap: statements on studies that were seen before.
        resamples: of patients.
    """

    split: str
    population: str
    splits: tuple[Split, ...]
    overlap: tuple[str, ...]
    resamples: int


def measure(
    scorer: Scorer,
    test: Scorable,
    rules: dict[str, dict[str, DecisionRule]],
    *,
    minimum: int,
    resamples: int,
    seed: int,
) -> tuple[Performance, ...]:
    """Performance of every finding on a split that chose nothing.

    Args:
        scorer: of the findings.
        test: the split.
        rules: with the thresholds.
        minimum: studies that a subgroup needs.
        resamples: of patients.
        seed: of these.
    """
    weights = patient_resamples(test.patient_ids, resamples, seed)
    scores = scorer.scores(test, scorer.modalities)
    report = zero_shot_report(
        scores=scores, labels=test.outcomes, patient_ids=test.patient_ids, findings=scorer.findings,
        resamples=resamples, seed=seed,
    )  # fmt: skip
    whole = np.stack([test.present[name].numpy() for name in scorer.modalities]).all(axis=0)
    of_all = rules[subset_key(scorer.modalities, list(scorer.modalities))]
    measured = []
    for place, result in enumerate(report.findings):
        own, labels = scores[:, place], test.outcomes[:, place]
        rates = _rates(of_all[result.name], own, np.where(whole, labels, np.nan), weights)
        subgroups = subgroup_report(
            log_odds=own, labels=labels, groups=test.groups, threshold=0.0, weights=weights, minimum=minimum
        )
        measured.append(Performance(result=result, sensitivity=rates[0], specificity=rates[1], subgroups=subgroups))
    return tuple(measured)


def notes(performance: tuple[Performance, ...], content: BundleContent) -> list[str]:
    """What the numbers warn of."""
    told = []
    for one in performance:
        name = one.result.name
        if not one.result.ci95.low > 0.5:
            told.append(f"{name} is not told apart from chance on the test split.")
        silent = [key for key, of in content.rules.items() if of[name].problem is not None]
        if silent:
            told.append(f"{name}: the scorer abstains when only these speak: {'; '.join(silent)}.")
        for column, groups in one.subgroups.columns.items():
            gap = groups.gaps.get("auroc")
            if isinstance(gap, Gap) and gap.difference.ci95.low > 0:
                less = f"{gap.difference.value:.3f} lower for {column} {gap.lowest} than for {gap.highest}"
                told.append(f"{name}: AUROC is {less}.")
    return told


def render(content: BundleContent, performance: tuple[Performance, ...], told: CardFacts) -> str:
    """The card, in Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=False, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"estimate": _estimate, "triple": _triple}
    return environment.get_template(_TEMPLATE).render(
        content=content,
        data=told,
        performance=[_row(one) for one in performance],
        alone=[key for key in content.rules if key in content.query],
        subgroups=_columns(performance),
        notes=notes(performance, content),
    )


def _rates(
    rule: DecisionRule, scores: np.ndarray, labels: np.ndarray, weights: Integer[np.ndarray, "R N"]
) -> tuple[Estimate | None, Estimate | None]:
    if rule.threshold is None:
        return None, None
    probabilities = np.array([rule.probability(float(score)) for score in scores])
    threshold = Threshold(rule.threshold, "youden")
    point = operating_points(scores=probabilities, labels=labels, thresholds=[threshold], weights=weights)[0]
    return point.sensitivity, point.specificity


def _row(one: Performance) -> dict[str, Any]:
    return {
        "name": one.result.name,
        "auroc": Estimate(one.result.auroc, one.result.ci95),
        "n": one.result.n,
        "n_positive": one.result.n_positive,
        "sensitivity": one.sensitivity,
        "specificity": one.specificity,
    }


def _columns(performance: tuple[Performance, ...]) -> list[dict[str, Any]]:
    """AUROC by finding and group, a table per group column."""
    columns = performance[0].subgroups.columns
    return [
        {
            "name": name,
            "groups": [group.name for group in column.groups],
            "rows": [
                {
                    "finding": one.result.name,
                    "estimates": [group.metrics["auroc"] for group in one.subgroups.columns[name].groups],
                }
                for one in performance
            ],
        }
        for name, column in columns.items()
    ]


def _estimate(value: Estimate | str | None) -> str:
    if value is None or isinstance(value, str) or np.isnan(value.value):
        return _UNKNOWN
    return _triple((value.value, value.ci95.low, value.ci95.high))


def _triple(value: tuple[float, float, float] | None) -> str:
    return _UNKNOWN if value is None else f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"
