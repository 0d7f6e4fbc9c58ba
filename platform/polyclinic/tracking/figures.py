"""Figures of a run, drawn without pyplot and therefore without global state.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), which colour-blind readers can distinguish; the
heat map is cividis (Nuñez et al. 2018, PLoS ONE 13(7)).
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_MAX_TICK_LABELS = 40
_MAX_ANNOTATED_ROWS = 12
_MAX_POINTS = 1000


def similarity_matrix(scores: Float[np.ndarray, "N N"], names: Sequence[str]) -> Figure:
    """Draw the scores of N queries (rows) against N candidates (columns), with matching pairs on the diagonal.

    Args:
        scores: scores of the objective, without unit.
        names: names of the N studies or classes; drawn for up to 40.

    Raises:
        ValueError: there are no rows, or the numbers of names and rows differ.
    """
    count = len(scores)
    if count == 0 or len(names) != count:
        raise ValueError(f"got {len(names)} names for {count} rows of scores, expected one each; pass `names` to match")
    side = float(np.clip(3.2 + 0.3 * count, 5, 9))
    figure, axes = _canvas(width=side + 0.8, height=side)
    image = axes.imshow(scores, cmap="cividis", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="score", shrink=0.85)
    axes.set(xlabel="candidate", ylabel="query")
    axes.set_title(_diagonal_summary(scores))
    if count <= _MAX_TICK_LABELS:
        size = 8 if count <= _MAX_TICK_LABELS // 2 else 7
        axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= _MAX_ANNOTATED_ROWS:
        _write_numbers(axes, scores)
    return figure


def roc_curves(
    curves: Mapping[str, tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], float]],
) -> Figure:
    """Draw the receiver operating characteristic of each finding, in descending order of AUROC.

    Args:
        curves: false-positive rates, true-positive rates and area under the curve by finding, all in [0, 1].

    Raises:
        ValueError: there are no curves.
    """
    if not curves:
        raise ValueError("got no curves, expected at least one finding; pass `curves` with one entry per finding")
    figure, axes = _canvas(width=7.8, height=5.5)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (4, 4)), label="chance  0.500")
    ranked = sorted(curves.items(), key=lambda entry: -entry[1][2])
    for index, (finding, (fpr, tpr, auroc)) in enumerate(ranked):
        dashes = _DASHES[index // len(_COLOURS) % len(_DASHES)]
        axes.plot(
            fpr, tpr, dashes, color=_COLOURS[index % len(_COLOURS)], linewidth=1.8, label=f"{finding}  {auroc:.3f}"
        )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false-positive rate (1 - specificity)", ylabel="true-positive rate (sensitivity)")
    axes.set_title("ROC by finding")
    axes.grid(alpha=0.25)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title="AUROC", fontsize=8)
    return figure


def training_curves(curves: Mapping[str, Sequence[tuple[int, float]]], chosen: Mapping[str, float]) -> Figure:
    """Draw the losses of a run over its steps, and the other metrics below them.

    Args:
        curves: step and value of each validation, by metric.
        chosen: value of the best weights, by the metric that chose them; its first step is marked.

    Raises:
        ValueError: there are no curves.
    """
    if not curves:
        raise ValueError("got no curves, expected at least one metric; pass `curves` with one entry per metric")
    losses = [name for name in curves if name.endswith("loss")]
    groups = [names for names in (losses, [name for name in curves if name not in losses]) if names]
    figure = Figure(figsize=(7.8, 1.2 + 2.6 * len(groups)), dpi=120, layout="constrained")
    for place, (names, axes) in enumerate(
        zip(groups, figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0], strict=True)
    ):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        for name in names:
            steps, values = zip(*curves[name], strict=True)
            colour = _COLOURS[list(curves).index(name) % len(_COLOURS)]
            axes.plot(steps, values, color=colour, linewidth=1.8, label=name)
            if chosen.get(name) in values:
                at = values.index(chosen[name])
                axes.plot(steps[at], values[at], "o", color=colour, label=f"best weights  {values[at]:.3f}")
        axes.set(ylabel="loss" if names is losses else names[0])
        axes.legend(fontsize=8, frameon=False)
        axes.set_xlabel("step" if place == len(groups) - 1 else "")
    return figure


def similarity_grid(
    pairs: Mapping[tuple[str, str], Float[np.ndarray, "_ _"]], joint: Mapping[str, Float[np.ndarray, "_ _"]]
) -> Figure:
    """Draw cross-modal retrieval as one square of the same few studies for each pair of modalities.

    A square has queries as rows, candidates as columns and matching studies on its diagonal. The colour of a cell is
    the share of the query's other candidates with a lower score, ties counted half. The number above a square is the
    mean of its diagonal: 0.5 by chance, 1 if every query scores its study highest.

    Args:
        pairs: scores by (query modality, candidate modality).
        joint: scores by candidate modality for queries of all other modalities; framed, may be empty.

    Raises:
        ValueError: there is no pair, or a square has fewer than two studies.
    """
    shapes = [scores.shape for scores in [*pairs.values(), *joint.values()]]
    if not pairs or min(min(shape) for shape in shapes) < 2:
        raise ValueError(f"got {shapes}, expected one pair or more, each with two studies or more")
    squares = dict(pairs) | {(name, name): scores for name, scores in joint.items()}
    names = dict.fromkeys(name for query, candidate in pairs for name in (candidate, query))
    row_names, column_names = ([name for name in names if name in {key[side] for key in squares}] for side in (0, 1))
    figure, axes = _canvas(width=max(5.0, 1.6 * len(column_names) + 2.2), height=1.6 * len(row_names) + 1.6)
    for (query, candidate), scores in squares.items():
        image = _draw_square(
            axes, row_names.index(query), column_names.index(candidate), _share_below(scores), query == candidate
        )
    axes.set(
        xlim=(0, len(column_names)), ylim=(len(row_names), 0), aspect="equal", xlabel="candidates", ylabel="queries"
    )
    axes.set_xticks([place + 0.5 for place in range(len(column_names))], column_names)
    axes.set_yticks([place + 0.56 for place in range(len(row_names))], row_names)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    figure.colorbar(image, ax=axes, label="other candidates below", shrink=0.5, format=PercentFormatter(1.0))
    title = "Retrieval between modalities\nMatching studies on the diagonals, with their mean; chance 0.50"
    title += "\nFramed: queries of all other modalities together" * bool(joint)
    figure.suptitle(title, fontsize=9, x=0.02, ha="left")
    return figure


def _draw_square(axes: Axes, row: int, column: int, below: Float[np.ndarray, "N N"], is_joint: bool) -> AxesImage:
    left, right, top, bottom = column + 0.07, column + 0.93, row + 0.13, row + 0.99
    image = axes.imshow(
        below, cmap="cividis", vmin=0, vmax=1, extent=(left, right, bottom, top), interpolation="nearest"
    )
    if is_joint:
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=_COLOURS[1], lw=2))
    axes.text(column + 0.5, row + 0.11, f"{np.diag(below).mean():.2f}", ha="center", va="bottom", fontsize=9)
    return image


def _share_below(scores: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
    """Return for each candidate the share of the query's other candidates with a lower score, ties counted half."""
    value, others = scores[:, :, None], scores[:, None, :]
    # Each candidate ties with itself; subtract that half.
    return ((value > others).sum(axis=2) + 0.5 * (value == others).sum(axis=2) - 0.5) / (len(scores) - 1)


def modality_gap(embeddings: Mapping[str, Float[np.ndarray, "_ d"]]) -> Figure:
    """Draw the embeddings of each modality and the distances of their centroids.

    Embeddings are scaled to unit length and projected on their first two principal components. The gap between two
    modalities is the distance of their centroids before the projection (Liang et al. 2022, "Mind the gap", NeurIPS,
    section 2), from 0 to 2.

    Args:
        embeddings: one row per study, by modality; at most 1,000 evenly spaced rows are drawn.

    Raises:
        ValueError: there are fewer than two modalities, a modality is empty, or rows have fewer than two dimensions.
    """
    if len(embeddings) < 2 or any(rows.shape[0] == 0 or rows.shape[1] < 2 for rows in embeddings.values()):
        shapes = {name: rows.shape for name, rows in embeddings.items()}
        raise ValueError(f"got {shapes}, expected two modalities or more, each with rows of two dimensions or more")
    unit = {name: _unit_rows(rows) for name, rows in embeddings.items()}
    centres = {name: rows.mean(axis=0) for name, rows in unit.items()}
    mean, components, shares = _two_components(np.concatenate(list(unit.values())))
    figure, axes = _canvas(width=8.5, height=5.5)
    for index, (name, rows) in enumerate(unit.items()):
        _scatter(axes, index, name, (rows - mean) @ components.T, (centres[name] - mean) @ components.T)
    for first, second in combinations(unit, 2):
        gap = float(np.linalg.norm(centres[first] - centres[second]))
        axes.plot([], [], " ", label=f"gap {first} - {second}: {gap:.2f}")
    axes.set(xlabel=f"component 1 ({shares[0]:.0%} of variance)", ylabel=f"component 2 ({shares[1]:.0%} of variance)")
    axes.set_title("Embeddings by modality, centroids outlined")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.25)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=8, markerscale=1.8)
    return figure


def _canvas(*, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _diagonal_summary(scores: Float[np.ndarray, "N N"]) -> str:
    if len(scores) == 1:
        return f"Similarity: {scores[0, 0]:.2f}"
    others = scores[~np.eye(len(scores), dtype=bool)]
    return f"Similarity: matching {np.diag(scores).mean():z.2f}, others {others.mean():z.2f} on average"


def _write_numbers(axes: Axes, scores: Float[np.ndarray, "N N"]) -> None:
    middle = (scores.min() + scores.max()) / 2
    for (row, column), value in np.ndenumerate(scores):
        colour = "black" if value > middle else "white"
        axes.text(column, row, f"{value:z.2f}", ha="center", va="center", fontsize=8, color=colour)


def _unit_rows(rows: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "N d"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(lengths, np.finfo(rows.dtype).tiny)


def _two_components(
    rows: Float[np.ndarray, "N d"],
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "2 d"], Float[np.ndarray, "2"]]:
    """Return the mean, the first two principal directions and their shares of the variance."""
    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(rows - mean, rowvar=False, bias=True))
    shares = variances[::-1][:2] / max(variances.sum(), np.finfo(rows.dtype).tiny)
    return mean, directions.T[::-1][:2].astype(rows.dtype), shares


def _scatter(
    axes: Axes, index: int, name: str, points: Float[np.ndarray, "N 2"], centre: Float[np.ndarray, "2"]
) -> None:
    colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
    shown = points[:: -(-len(points) // _MAX_POINTS)]
    axes.scatter(
        shown[:, 0],
        shown[:, 1],
        s=12,
        alpha=0.45,
        color=colour,
        marker=marker,
        linewidths=0,
        label=f"{name} (n={len(points)})",
    )
    axes.scatter(
        centre[:1], centre[1:], s=140, color=colour, marker=marker, edgecolors="black", linewidths=1.5, zorder=3
    )
