"""When a recording sounds like what a score comes from."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from torch import Tensor

from polyclinic.modality import HEAT, relative_relevance
from polyclinic_audio.imputed import draw_mel

_STRONGEST = 0.6


def draw_patches(
    mel: Float[np.ndarray, "M F"], relevance: Float[Tensor, " T"], *, patch: int, hop: float, axes: Axes
) -> None:
    """Lay the relevance of stretches of time over a spectrogram in grey.

    Args:
        mel: frames and bands.
        relevance: of stretches of ``patch`` frames, the last one perhaps shorter.
        patch: frames of a token.
        hop: time between two frames in ms.
        axes: to draw on.

    Raises:
        ValueError: another number of tokens than of stretches, or a relevance that cannot be drawn.
    """
    frames, bands = mel.shape
    count = -(-frames // patch)
    if len(relevance) != count:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {count} for {frames} frames with patch {patch}; "
            "give a row of `token_relevance`, for an encoder of this `patch`"
        )
    # In grey, because relevance and the loud end of the usual colours look alike.
    draw_mel(mel, hop=hop, axes=axes, colours="gray")
    heat = to_rgba_array(HEAT, alpha=relative_relevance(relevance) * _STRONGEST)[None]
    extent = (0.0, count * patch * hop / 1000, 0.0, float(bands))
    axes.imshow(heat, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    axes.set_xlim(0, frames * hop / 1000)
