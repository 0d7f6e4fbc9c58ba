"""A radiograph that a model filled in, to be looked at and kept."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_RANGE = 3.0
_WARNING = (
    f"SYNTHETIC: predicted by a model from other modalities, never recorded; 0 to 65535 is -{_RANGE:g} to {_RANGE:g} "
    "deviations of an image around its mean"
)


def draw_image(image: Float[np.ndarray, "H W"], axes: Axes) -> None:
    """Draw pixels in grey, hidden ones (NaN) in a colour that no radiograph has."""
    axes.imshow(image, cmap="gray", vmin=-_RANGE, vmax=_RANGE, interpolation="nearest")
    axes.set_facecolor("#cfe3f2")
    axes.set_xticks([])
    axes.set_yticks([])


def write_image(image: Float[np.ndarray, "H W"], path: Path) -> Path:
    """Write a PNG of 16 bits with a text inside that says what it is."""
    stored = np.clip((image + _RANGE) / (2 * _RANGE), 0, 1) * 65535
    text = PngInfo()
    text.add_text("Comment", _WARNING)
    written = path.with_name(f"{path.name}.png")
    Image.fromarray(stored.round().astype(np.uint16)).save(written, pnginfo=text)
    return written
