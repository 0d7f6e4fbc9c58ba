"""When, and in which lead, an electrocardiogram shows what a score comes from."""

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from torch import Tensor

from polyclinic.modality import HEAT, relative_relevance
from polyclinic_ecg.imputed import APART, SHOWN, draw_leads
from polyclinic_ecg.recording import LEADS

_STRONGEST = 0.7


def draw_stretches(
    signal: Float[np.ndarray, "12 N"],
    recorded: Bool[np.ndarray, "12 N"],
    relevance: Float[Tensor, " T"],
    *,
    rate: float,
    by_lead: bool,
    axes: Axes,
) -> None:
    """Draw leads over time with a band behind each stretch, the stronger the more relevant.

    Args:
        signal: in millivolts.
        recorded: where there is a sample.
        relevance: of equal stretches of time, or with ``by_lead`` of those of each of the twelve leads in turn.
        rate: samples per second.
        by_lead: draw all leads, each with bands of its own, in place of some in front of common ones.
        axes: to draw on.

    Raises:
        ValueError: fewer tokens than one, more than samples, or no whole number for each lead.
    """
    length, rows = signal.shape[1], len(LEADS) if by_lead else 1
    if not 0 < len(relevance) <= length * rows or len(relevance) % rows:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected a multiple of {rows} up to {length * rows}; give "
            "a row of `token_relevance`, for an encoder of this `stem`"
        )
    shown = LEADS if by_lead else SHOWN
    draw_leads(signal, recorded, rate=rate, axes=axes, shown=shown)
    strength = relative_relevance(relevance) * _STRONGEST
    bands = to_rgba_array(HEAT, alpha=strength).reshape(rows, -1, 4)
    # The first lead is at 0 and the last one at the bottom, each in the middle of its band.
    extent = (0.0, length / rate, (0.5 - len(shown)) * APART, 0.5 * APART)
    axes.imshow(bands, extent=extent, aspect="auto", interpolation="nearest", zorder=0.5)
