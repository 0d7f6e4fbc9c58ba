"""Figures of a run, drawn without pyplot and hence without any state between them.

Colours are those of Okabe and Ito (2008, "Color Universal Design"), told apart by colour-blind readers; the heat
map is cividis (Nuñez et al. 2018, PLoS ONE 13(7)).
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
_MOST_NAMES = 40
_MOST_NUMBERS = 12
_SHOWN_POINTS = 1000


def similarity_matrix(scores: Float[np.ndarray, "N N"], names: Sequence[str]) -> Figure:
    """Scores of N queries (rows) against N candidates (columns), matching pairs on the diagonal.

    Args:
        scores: as the objective gives them, without unit.
        names: of the N studies or classes; drawn up to 40.

    Raises:
        ValueError: as many names as rows are needed, and at least one.
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
    if count <= _MOST_NAMES:
        size = 8 if count <= _MOST_NAMES // 2 else 7
        axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= _MOST_NUMBERS:
        _write_numbers(axes, scores)
    return figure


def roc_curves(
    curves: Mapping[str, tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], float]],
) -> Figure:
    """Receiver operating characteristic of each finding, the best one first in the legend.

    Args:
        curves: by finding, the false-positive rates, the true-positive rates and the area under the curve, all
            in [0, 1].

    Raises:
        ValueError: no curve is given.
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


def similarity_grid(
    pairs: Mapping[tuple[str, str], Float[np.ndarray, "_ _"]], joint: Mapping[str, Float[np.ndarray, "_ _"]]
) -> Figure:
    """Which modality finds the studies of which: a square of the same few studies for each pair of modalities.

    A square has queries as rows and candidates as columns, those of one study on its diagonal. Its colour is the share
    of the other candidates of that query which a candidate scores above, ties half; the number over it is the mean of
    its diagonal, 0.5 by chance and 1 where every query scores its own study highest.

    Args:
        pairs: scores, by the modality of the queries and that of the candidates.
        joint: scores, by the modality of the candidates, for queries of all others; framed, and may be empty.

    Raises:
        ValueError: no pair, or a square of fewer than two studies.
    """
    shapes = [scores.shape for scores in [*pairs.values(), *joint.values()]]
    if not pairs or min(min(shape) for shape in shapes) < 2:
        raise ValueError(f"got {shapes}, expected one pair or more, each with two studies or more")
    squares = dict(pairs) | {(name, name): scores for name, scores in joint.items()}
    names = dict.fromkeys(name for query, candidate in pairs for name in (candidate, query))
    down, across = ([name for name in names if name in {key[side] for key in squares}] for side in (0, 1))
    figure, axes = _canvas(width=max(5.0, 1.6 * len(across) + 2.2), height=1.6 * len(down) + 1.6)
    for (query, candidate), scores in squares.items():
        image = _draw_square(axes, down.index(query), across.index(candidate), _above(scores), query == candidate)
    axes.set(xlim=(0, len(across)), ylim=(len(down), 0), aspect="equal", xlabel="candidates", ylabel="queries")
    axes.set_xticks([place + 0.5 for place in range(len(across))], across)
    axes.set_yticks([place + 0.56 for place in range(len(down))], down)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    figure.colorbar(image, ax=axes, label="other candidates below", shrink=0.5, format=PercentFormatter(1.0))
    told = "Which modality finds the studies of which\nOwn studies on the diagonals, with their mean; chance 0.50"
    told += "\nFramed: queries of all other modalities together" * bool(joint)
    figure.suptitle(told, fontsize=9, x=0.02, ha="left")
    return figure


def _draw_square(axes: Axes, row: int, column: int, above: Float[np.ndarray, "N N"], is_joint: bool) -> AxesImage:
    left, right, top, bottom = column + 0.07, column + 0.93, row + 0.13, row + 0.99
    image = axes.imshow(
        above, cmap="cividis", vmin=0, vmax=1, extent=(left, right, bottom, top), interpolation="nearest"
    )
    if is_joint:
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=_COLOURS[1], lw=2))
    axes.text(column + 0.5, row + 0.11, f"{np.diag(above).mean():.2f}", ha="center", va="bottom", fontsize=9)
    return image


def _above(scores: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
    """Of each candidate, the share of the query's other candidates that it scores above, ties half."""
    value, others = scores[:, :, None], scores[:, None, :]
    # A candidate ties with itself, which the last term takes back.
    return ((value > others).sum(axis=2) + 0.5 * (value == others).sum(axis=2) - 0.5) / (len(scores) - 1)


def modality_gap(embeddings: Mapping[str, Float[np.ndarray, "_ d"]]) -> Figure:
    """Where each modality's embeddings lie, and how far apart their centres are.

    Embeddings are scaled to unit length and projected on their two first principal components; the gap of two
    modalities is the distance of their centroids before the projection (Liang et al. 2022, "Mind the gap",
    NeurIPS, section 2), 0 for none and 2 at most.

    Args:
        embeddings: by modality, one row per study; at most 1,000 evenly spaced rows are drawn.

    Raises:
        ValueError: fewer than two modalities, an empty one, or fewer than two dimensions.
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
    for one, other in combinations(unit, 2):
        gap = float(np.linalg.norm(centres[one] - centres[other]))
        axes.plot([], [], " ", label=f"gap {one} - {other}: {gap:.2f}")
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
    """Mean, the two first principal directions and their shares of the variance."""
    mean = rows.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(rows - mean, rowvar=False, bias=True))
    shares = variances[::-1][:2] / max(variances.sum(), np.finfo(rows.dtype).tiny)
    return mean, directions.T[::-1][:2].astype(rows.dtype), shares


def _scatter(
    axes: Axes, index: int, name: str, points: Float[np.ndarray, "N 2"], centre: Float[np.ndarray, "2"]
) -> None:
    colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index % len(_MARKERS)]
    shown = points[:: -(-len(points) // _SHOWN_POINTS)]
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
