"""The model card of a bundle, and the licences of the distributions that it requires."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from packaging.requirements import Requirement

from polyclinic.deploy.bundle import BundleContent, DecisionRule, Head, Label, subset_key
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.metrics.intervals import Estimate, patient_resamples
from polyclinic.evaluation.metrics.operating import Threshold, operating_points
from polyclinic.evaluation.metrics.subgroups import Gap, SubgroupReport, subgroup_report
from polyclinic.evaluation.scorers import Scorer
from polyclinic.evaluation.zeroshot import FindingResult, zero_shot_report

_ROOT = "polyclinic"
_EXTRAS = ("", "serve", "backbones")
"""Extras of polyclinic that a bundle may need where it is scored; "" is a plain installation."""

_MAX_LICENCE_CHARACTERS = 60


def licence_list(of_bundle: str) -> str:
    """Render the licences of the bundle and of every installed distribution that scoring and serving require."""
    lines = [
        "# Licences",
        "",
        f"This bundle: {of_bundle}",
        "",
        "It requires these distributions, which are not included:",
        "",
        "| distribution | version | licence |",
        "|---|---|---|",
    ]
    lines += [f"| {required.name} | {required.version} | {licence_of(required)} |" for required in _required()]
    return "\n".join(lines) + "\n"


def licence_of(package: Any) -> str:
    """Return the stated licence: an SPDX expression, else classifiers, else the first line of the licence field."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier") or ()
    if stated := [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]:
        return ", ".join(dict.fromkeys(stated))
    first = str(metadata.get("License") or "").strip().splitlines()[:1]
    return first[0][:_MAX_LICENCE_CHARACTERS] if first else "not stated"


def _required() -> list[Any]:
    """Return ``polyclinic`` and what scoring and serving require of it, directly or indirectly, by name."""
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
        extras = _EXTRAS if name == _ROOT else ("",)
        waiting += [
            requirement.name.lower().replace("_", "-")
            for requirement in map(Requirement, found[name].requires or ())
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return [found[name] for name in sorted(found)]


_TEMPLATE = "MODEL_CARD.md.jinja"
_UNKNOWN = "-"


@dataclass(frozen=True, kw_only=True)
class Performance:
    """Performance of one finding on the test split.

    Attributes:
        result: result with all modalities that a study has.
        sensitivity: sensitivity at the validation threshold, over studies with every input modality; None without a
            threshold.
        specificity: specificity under the same conditions.
        subgroups: metrics by group.
    """

    result: FindingResult
    sensitivity: Estimate | None
    specificity: Estimate | None
    subgroups: SubgroupReport


@dataclass(frozen=True, kw_only=True)
class Split:
    """Size of a split, and the share of its studies that have each modality."""

    name: str
    studies: int
    patients: int
    present: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """Facts on the card that are not part of the bundle's content.

    Attributes:
        split: name of the reported split.
        population: population of the cohort; empty if not stated.
        splits: splits of the cohort.
        overlap: statements on overlap with the training exposure.
        resamples: number of resamples of patients.
    """

    split: str
    population: str
    splits: tuple[Split, ...]
    overlap: tuple[str, ...]
    resamples: int


def measure(
    scorer: Scorer,
    test: EmbeddedSplit,
    rules: dict[str, dict[str, DecisionRule]],
    *,
    minimum: int,
    resamples: int,
    seed: int,
) -> tuple[Performance, ...]:
    """Measure every finding on a split that was not used for training or calibration; none without findings.

    Args:
        scorer: scorer of the findings.
        test: reported split.
        rules: decision rules by subset and finding.
        minimum: minimum number of studies in a subgroup.
        resamples: number of resamples of patients.
        seed: seed of the resamples.
    """
    if not scorer.findings:
        return ()
    weights = patient_resamples(test.patient_ids, resamples, seed)
    scores = scorer.scores(test, scorer.modalities)
    report = zero_shot_report(
        scores=scores, labels=test.outcomes, patient_ids=test.patient_ids, findings=scorer.findings,
        resamples=resamples, seed=seed,
    )  # fmt: skip
    complete = np.stack([test.present[name].numpy() for name in scorer.modalities]).all(axis=0)
    of_all = rules[subset_key(scorer.modalities, list(scorer.modalities))]
    measured = []
    for place, result in enumerate(report.findings):
        column, labels = scores[:, place], test.outcomes[:, place]
        rates = _rates(of_all[result.name], column, np.where(complete, labels, np.nan), weights)
        subgroups = subgroup_report(
            log_odds=column, labels=labels, groups=test.groups, threshold=0.0, weights=weights, minimum=minimum
        )
        measured.append(Performance(result=result, sensitivity=rates[0], specificity=rates[1], subgroups=subgroups))
    return tuple(measured)


def notes(performance: tuple[Performance, ...], content: BundleContent) -> list[str]:
    """Return warnings about chance level, estimates no better than a guess, abstention and subgroup gaps."""
    warnings = []
    for finding in performance:
        name = finding.result.name
        if not finding.result.ci95.low > 0.5:
            warnings.append(f"{name}: AUROC is not significantly above chance on the test split.")
        undecided = [key for key, rules in content.rules.items() if rules[name].problem is not None]
        if undecided:
            warnings.append(f"{name}: the scorer abstains if these are the only inputs: {'; '.join(undecided)}.")
        for column, groups in finding.subgroups.columns.items():
            gap = groups.gaps.get("auroc")
            if isinstance(gap, Gap) and gap.difference.ci95.low > 0:
                less = f"{gap.difference.value:.3f} lower for {column} {gap.lowest} than for {gap.highest}"
                warnings.append(f"{name}: AUROC is {less}.")
    return warnings + ([] if content.head is None else _estimate_notes(content.head))


def _estimate_notes(head: Head) -> list[str]:
    warnings = []
    for name, measured in head.errors.items():
        if measured.error is not None and measured.guess is not None and not measured.error[2] < measured.guess:
            warnings.append(f"{name}: the error is not significantly below that of a constant guess on the test split.")
        undecided = [key for key, rules in head.estimates.items() if rules[name].problem is not None]
        if undecided:
            warnings.append(f"{name}: the scorer abstains if these are the only inputs: {'; '.join(undecided)}.")
    return warnings


def render(content: BundleContent, performance: tuple[Performance, ...], facts: CardFacts) -> str:
    """Render the card as Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=False, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"estimate": _estimate, "triple": _triple}
    return environment.get_template(_TEMPLATE).render(
        content=content,
        data=facts,
        performance=[_row(finding) for finding in performance],
        estimates=[] if content.head is None else [_error_row(label, content.head) for label in content.head.estimated],
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


def _row(finding: Performance) -> dict[str, Any]:
    result = finding.result
    return {
        "name": result.name,
        "auroc": Estimate(result.auroc, result.ci95),
        "n": result.n,
        "n_positive": result.n_positive,
        "sensitivity": finding.sensitivity,
        "specificity": finding.specificity,
    }


def _error_row(label: Label, head: Head) -> dict[str, Any]:
    measured = head.errors[label.name]
    return {
        "name": label.name,
        "unit": label.unit or "levels",
        "n": measured.n,
        "error": measured.error,
        "guess": _UNKNOWN if measured.guess is None else f"{measured.guess:.3g}",
        "alone": {key: rules[label.name] for key, rules in head.estimates.items()},
    }


def _columns(performance: tuple[Performance, ...]) -> list[dict[str, Any]]:
    """Return AUROC by finding and group, one table per group column."""
    columns = performance[0].subgroups.columns if performance else {}
    return [
        {
            "name": name,
            "groups": [group.name for group in column.groups],
            "rows": [
                {
                    "finding": finding.result.name,
                    "estimates": [group.metrics["auroc"] for group in finding.subgroups.columns[name].groups],
                }
                for finding in performance
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
