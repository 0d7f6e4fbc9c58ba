"""Figures of the card, drawn without pyplot; colours as in `tracking.figures`."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polyclinic.evaluation.card.content import Card
from polyclinic.evaluation.card.explaining import Deletion
from polyclinic.evaluation.card.findings import FindingCard
from polyclinic.evaluation.card.missing import Missingness
from polyclinic.evaluation.explain import AT_RANDOM, LEAST_FIRST, MOST_FIRST
from polyclinic.evaluation.metrics.auroc import roc_curve
from polyclinic.evaluation.metrics.recalibration import CalibrationQuality
from polyclinic.evaluation.scorers import Scorable, Scorer
from polyclinic.tracking import roc_curves

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_COLUMNS = 4
_TITLE = 9
_MOST_SUBSETS = 31


def card_figures(card: Card, scorer: Scorer, test: Scorable) -> dict[str, Figure]:
    """Every figure of the card, by the name under which the page asks for it."""
    scores = scorer.scores(test, scorer.modalities)
    curves = {
        one.name: (*roc_curve(scores[:, place], test.outcomes[:, place])[:2], one.auroc.value)
        for place, one in enumerate(card.findings)
        if one.problem is None
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
    """Of each finding, the share that has it against its probability, before and after Platt's map."""
    figure, grid = _grid(len(cards), 2.6)
    for axes, card in zip(grid, cards, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (4, 4)))
        for name, colour, label in (("none", "0.55", "as it is"), ("platt", BLUE, "Platt")):
            quality = card.calibration.quality[name]
            if isinstance(quality, CalibrationQuality):
                told = quality.equal_mass
                seen = told.count > 0
                low, high = (np.array([getattr(one, side) for one in told.share_ci95]) for side in ("low", "high"))
                axes.plot(told.mean_probability[seen], told.share_positive[seen], "o-", color=colour, markersize=3,
                          linewidth=1.2, label=label)  # fmt: skip
                axes.vlines(told.mean_probability[seen], low[seen], high[seen], color=colour, linewidth=0.8)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_title(card.name, fontsize=_TITLE)
    return _labelled(figure, grid, "predicted probability", "share with the finding")


def decision_curves(cards: Sequence[FindingCard]) -> Figure:
    """Of each finding, net benefit over threshold probabilities."""
    figure, grid = _grid(len(cards), 2.3)
    for axes, card in zip(grid, cards, strict=True):
        curve = card.decision
        model, everybody = (np.array([one.value for one in told]) for told in (curve.model, curve.treat_all))
        low, high = (np.array([getattr(one.ci95, side) for one in curve.model]) for side in ("low", "high"))
        axes.axhline(0, color="0.6", linewidth=1, label="act on nobody")
        axes.plot(curve.thresholds, everybody, "--", color=ORANGE, linewidth=1.2, label="act on everybody")
        axes.plot(curve.thresholds, model, color=BLUE, linewidth=1.6, label="act on the model")
        axes.fill_between(curve.thresholds, low, high, color=BLUE, alpha=0.15, linewidth=0)
        top = np.nanmax([0.02, *high]) if np.isfinite(high).any() else 0.1
        axes.set(xlim=(0, 1), ylim=(-0.3 * top, 1.15 * top), xticks=[0, 0.5, 1])
        axes.set_title(card.name, fontsize=_TITLE)
    return _labelled(figure, grid, "threshold probability", "net benefit")


def subset_performance(told: Missingness) -> Figure:
    """Macro AUROC for every subset of the modalities, the best one on top."""
    ranked = sorted(told.subsets, key=lambda one: np.nan_to_num(one.auroc.value))[-_MOST_SUBSETS:]
    figure = Figure(figsize=(8.5, 1.2 + 0.24 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(ranked))
    values = np.array([one.auroc.value for one in ranked])
    axes.hlines(places, [one.auroc.ci95.low for one in ranked], [one.auroc.ci95.high for one in ranked], color="0.55")
    axes.plot(values, places, "o", color=BLUE, markersize=5)
    axes.axvline(0.5, color="0.6", linewidth=1, linestyle=(0, (4, 4)))
    axes.set_yticks(places, [" + ".join(one.modalities) for one in ranked], fontsize=8)
    axes.set(xlabel="macro AUROC, 95 % interval over patients")
    return _clean(figure, axes)


def modality_contributions(told: Missingness) -> Figure:
    """Shapley value and drop-one loss of each modality."""
    names = list(told.contributions.shapley)
    figure = Figure(figsize=(6.5, 1.1 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(
        places + 0.2, [told.contributions.shapley[name] for name in names], 0.36, color=BLUE, label="Shapley value"
    )
    axes.barh(
        places - 0.2, [told.contributions.drop_one[name] for name in names], 0.36, color=ORANGE,
        label="lost without it alone",
    )  # fmt: skip
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_yticks(places, names)
    axes.set(xlabel="macro AUROC")
    axes.legend(fontsize=8, frameon=False)
    return _clean(figure, axes)


def stress_test(told: Missingness) -> Figure:
    """Macro AUROC when test studies lose a modality in a way that depends on the finding."""
    scenarios = list(told.stress[0].auroc)
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    axes = figure.subplots()
    places, width = np.arange(len(told.stress)), 0.8 / len(scenarios)
    for number, (name, colour) in enumerate(zip(scenarios, ("0.6", GREEN, ORANGE, PINK), strict=True)):
        values = [one.auroc[name] for one in told.stress]
        axes.bar(places + (number - 1.5) * width, values, width, color=colour, label=name)
    axes.set_xticks(places, [one.modality for one in told.stress])
    heights = [value for one in told.stress for value in one.auroc.values() if value == value]
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


def deletion_curves(told: Sequence[Deletion]) -> Figure:
    """Mean score while tokens are taken away, the most relevant ones first, at random, the least relevant first."""
    figure, grid = _grid(len(told), 2.6)
    for axes, one in zip(grid, told, strict=True):
        axes.set_title(f"{one.modality}: {one.finding}", fontsize=_TITLE)
        if one.report is None:
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes, fontsize=8)
            continue
        for order, colour in ((MOST_FIRST, ORANGE), (AT_RANDOM, "0.55"), (LEAST_FIRST, BLUE)):
            axes.plot(one.report.shares, one.report.curves[order], color=colour, linewidth=1.5, label=order)
    return _labelled(figure, grid, "share of tokens deleted", "mean score")


def _grid(count: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    columns = min(_COLUMNS, max(count, 1))
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, height * rows + 0.5), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _labelled(figure: Figure, grid: Sequence[Axes], across: str, up: str) -> Figure:
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.supxlabel(across, fontsize=_TITLE)
    figure.supylabel(up, fontsize=_TITLE)
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside upper right", ncols=len(handles), fontsize=8, frameon=False
        )
    return _clean(figure, *grid)


def _clean(figure: Figure, *every: Axes) -> Figure:
    for axes in _visible(every):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.2)
    return figure


def _visible(every: Sequence[Axes]) -> Iterator[Axes]:
    return (axes for axes in every if axes.get_visible())
