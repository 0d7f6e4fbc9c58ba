"""Figures of the evaluation card, drawn without pyplot; colours as in `tracking.figures`."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polyclinic.evaluation.card.content import Card
from polyclinic.evaluation.card.explaining import Deletion
from polyclinic.evaluation.card.findings import FindingCard
from polyclinic.evaluation.card.missing import Missingness
from polyclinic.evaluation.embedding import EmbeddedSplit
from polyclinic.evaluation.explain import AT_RANDOM, LEAST_FIRST, MOST_FIRST
from polyclinic.evaluation.metrics.auroc import roc_curve
from polyclinic.evaluation.metrics.recalibration import CalibrationQuality
from polyclinic.evaluation.scorers import Scorer
from polyclinic.tracking import roc_curves

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_MAX_COLUMNS = 4
_TITLE_SIZE = 9
_MAX_SUBSETS = 31


def card_figures(card: Card, scorer: Scorer, test: EmbeddedSplit) -> dict[str, Figure]:
    """Draw every figure of the card, by its name in the template."""
    scores = scorer.scores(test, scorer.modalities)
    curves = {
        finding.name: (*roc_curve(scores[:, place], test.outcomes[:, place])[:2], finding.auroc.value)
        for place, finding in enumerate(card.findings)
        if finding.problem is None
    }
    return {
        **({"roc": roc_curves(curves)} if curves else {}),
        "reliability": reliability_diagrams(card.findings),
        "decision": decision_curves(card.findings),
        "subsets": subset_performance(card.missingness),
        "contributions": modality_contributions(card.missingness),
        "stress": stress_test(card.missingness),
        "deletion": deletion_curves(card.deletions),
    }


def reliability_diagrams(cards: Sequence[FindingCard]) -> Figure:
    """Draw the reliability diagram of each finding before and after Platt's map."""
    figure, grid = _grid(len(cards), 2.6)
    for axes, card in zip(grid, cards, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (4, 4)))
        for name, colour, label in (("none", "0.55", "uncalibrated"), ("platt", BLUE, "Platt")):
            quality = card.calibration.quality[name]
            if isinstance(quality, CalibrationQuality):
                bins = quality.equal_mass
                filled = bins.count > 0
                low, high = (np.array([getattr(ci95, end) for ci95 in bins.share_ci95]) for end in ("low", "high"))
                axes.plot(bins.mean_probability[filled], bins.share_positive[filled], "o-", color=colour, markersize=3,
                          linewidth=1.2, label=label)  # fmt: skip
                axes.vlines(bins.mean_probability[filled], low[filled], high[filled], color=colour, linewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_title(card.name, fontsize=_TITLE_SIZE)
    return _labelled(figure, grid, "predicted probability", "share with the finding")


def decision_curves(cards: Sequence[FindingCard]) -> Figure:
    """Draw net benefit over threshold probabilities for each finding."""
    figure, grid = _grid(len(cards), 2.3)
    for axes, card in zip(grid, cards, strict=True):
        curve = card.decision
        model, everybody = (
            np.array([benefit.value for benefit in benefits]) for benefits in (curve.model, curve.treat_all)
        )
        low, high = (np.array([getattr(benefit.ci95, end) for benefit in curve.model]) for end in ("low", "high"))
        axes.axhline(0, color="0.6", linewidth=1, label="act on nobody")
        axes.plot(curve.thresholds, everybody, "--", color=ORANGE, linewidth=1.2, label="act on everybody")
        axes.plot(curve.thresholds, model, color=BLUE, linewidth=1.6, label="act on the model")
        axes.fill_between(curve.thresholds, low, high, color=BLUE, alpha=0.15, linewidth=0)
        top = np.nanmax([0.02, *high]) if np.isfinite(high).any() else 0.1
        axes.set(xlim=(0, 1), ylim=(-0.3 * top, 1.15 * top), xticks=[0, 0.5, 1])
        axes.set_title(card.name, fontsize=_TITLE_SIZE)
    return _labelled(figure, grid, "threshold probability", "net benefit")


def subset_performance(missingness: Missingness) -> Figure:
    """Draw the macro AUROC of every subset of the modalities, the best one on top."""
    ranked = sorted(missingness.subsets, key=lambda subset: np.nan_to_num(subset.auroc.value))[-_MAX_SUBSETS:]
    figure = Figure(figsize=(8.5, 1.2 + 0.24 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(ranked))
    values = np.array([subset.auroc.value for subset in ranked])
    low, high = ([getattr(subset.auroc.ci95, end) for subset in ranked] for end in ("low", "high"))
    axes.hlines(places, low, high, color="0.55")
    axes.plot(values, places, "o", color=BLUE, markersize=5)
    axes.axvline(0.5, color="0.6", linewidth=1, linestyle=(0, (4, 4)))
    axes.set_yticks(places, [" + ".join(subset.modalities) for subset in ranked], fontsize=8)
    axes.set(xlabel="macro AUROC, 95 % interval over patients")
    return _clean(figure, axes)


def modality_contributions(missingness: Missingness) -> Figure:
    """Draw the Shapley value and drop-one loss of each modality."""
    values = missingness.contributions
    names = list(values.shapley)
    figure = Figure(figsize=(6.5, 1.1 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(places + 0.2, [values.shapley[name] for name in names], 0.36, color=BLUE, label="Shapley value")
    axes.barh(places - 0.2, [values.drop_one[name] for name in names], 0.36, color=ORANGE, label="loss when left out")
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_yticks(places, names)
    axes.set(xlabel="macro AUROC")
    axes.legend(fontsize=8, frameon=False)
    return _clean(figure, axes)


def stress_test(missingness: Missingness) -> Figure:
    """Draw the macro AUROC when test studies lose a modality at rates that depend on the finding."""
    tests = missingness.stress
    scenarios = list(tests[0].auroc)
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    axes = figure.subplots()
    places, width = np.arange(len(tests)), 0.8 / len(scenarios)
    for number, (name, colour) in enumerate(zip(scenarios, ("0.6", GREEN, ORANGE, PINK), strict=True)):
        values = [test.auroc[name] for test in tests]
        axes.bar(places + (number - 1.5) * width, values, width, color=colour, label=name)
    axes.set_xticks(places, [test.modality for test in tests])
    heights = [value for test in tests for value in test.auroc.values() if value == value]
    axes.set(ylabel="macro AUROC", ylim=(max(0.0, min([0.5, *heights]) - 0.05), min(1.0, max([0.6, *heights]) + 0.05)))
    axes.legend(
        title="test studies lose the modality",
        fontsize=8,
        title_fontsize=8,
        frameon=False,
        ncols=4,
        loc="upper center",
        bbox_to_anchor=(0.5, 1.22),
    )
    return _clean(figure, axes)


def deletion_curves(tests: Sequence[Deletion]) -> Figure:
    """Draw the mean score as tokens are deleted: most relevant first, at random, and least relevant first."""
    figure, grid = _grid(len(tests), 2.6)
    for axes, test in zip(grid, tests, strict=True):
        axes.set_title(f"{test.modality}: {test.finding}", fontsize=_TITLE_SIZE)
        if test.report is None:
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes, fontsize=8)
            continue
        for order, colour in ((MOST_FIRST, ORANGE), (AT_RANDOM, "0.55"), (LEAST_FIRST, BLUE)):
            axes.plot(test.report.shares, test.report.curves[order], color=colour, linewidth=1.5, label=order)
    return _labelled(figure, grid, "share of tokens deleted", "mean score")


def _grid(count: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    columns = min(_MAX_COLUMNS, max(count, 1))
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, height * rows + 0.5), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _labelled(figure: Figure, grid: Sequence[Axes], across: str, up: str) -> Figure:
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.supxlabel(across, fontsize=_TITLE_SIZE)
    figure.supylabel(up, fontsize=_TITLE_SIZE)
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside upper right", ncols=len(handles), fontsize=8, frameon=False
        )
    return _clean(figure, *grid)


def _clean(figure: Figure, *panels: Axes) -> Figure:
    for axes in _visible(panels):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.2)
    return figure


def _visible(panels: Sequence[Axes]) -> Iterator[Axes]:
    return (axes for axes in panels if axes.get_visible())
