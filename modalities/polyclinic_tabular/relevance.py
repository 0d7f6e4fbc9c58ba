"""Which columns of a row a score comes from."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from polyclinic.modality import HEAT, relative_relevance

_MOST = 20


def draw_columns(names: Sequence[str], texts: Sequence[str], relevance: Float[Tensor, " T"], axes: Axes) -> None:
    """Draw a bar for each of the most relevant columns, with the column's name and value.

    Args:
        names: of the columns.
        texts: values with their units; empty where missing, which may be relevant too.
        relevance: of the columns.
        axes: to draw on.

    Raises:
        ValueError: another number of tokens than of columns, or a relevance that cannot be drawn.
    """
    if len(relevance) != len(names):
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected one for each of {len(names)} columns; give a row "
            "of `token_relevance`, for an encoder with a token per column"
        )
    strength = relative_relevance(relevance)
    chosen = np.argsort(-strength, kind="stable")[:_MOST]
    labels = [f"{names[column]}: {texts[column] or 'missing'}" for column in chosen]
    axes.barh(range(len(chosen)), strength[chosen], color=HEAT, height=0.7)
    axes.set_yticks(range(len(chosen)), labels, fontsize=7, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(chosen) - 0.4, -0.6), xlabel="relevance, as a share of the largest")
