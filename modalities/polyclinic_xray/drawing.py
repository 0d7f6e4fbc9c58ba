"""Draw radiographs: the view of the service page, relevance heat maps, and imputed images."""

from math import isqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from polyclinic.modality import HEAT, LONGEST_SIDE, Picture, relative_relevance
from polyclinic_xray.radiograph import Radiograph, placement

_MAX_OPACITY = 0.75
"""Opacity of the most relevant patch, under which the image remains visible."""


def draw_heat(relevance: Float[Tensor, " T"], size: int, axes: Axes) -> None:
    """Draw the relevance of a square grid of patches over an image of ``size`` pixels.

    Raises:
        ValueError: there is no token, or a relevance cannot be drawn.
    """
    strength = patch_grid(relevance)
    heat = to_rgba_array(HEAT, alpha=strength.ravel() * _MAX_OPACITY).reshape(*strength.shape, 4)
    edges = (-0.5, size - 0.5, size - 0.5, -0.5)
    axes.imshow(heat, extent=edges, interpolation="bilinear")


def patch_grid(relevance: Float[Tensor, " T"]) -> Float[np.ndarray, "G G"]:
    """Return the relevance of a square grid of patches relative to the largest, the top row first.

    Class tokens, which come before the patches, are dropped first.

    Raises:
        ValueError: there is no token, or a relevance cannot be drawn.
    """
    side = isqrt(len(relevance))
    if not side:
        raise ValueError("got the relevance of 0 tokens, expected one for each patch; give a row of `token_relevance`")
    return relative_relevance(relevance[len(relevance) - side**2 :]).reshape(side, side)


_DEVIATIONS = 3.0
_WARNING = (
    f"SYNTHETIC: predicted by a model from other modalities, never recorded; 0 to 65535 is -{_DEVIATIONS:g} to "
    f"{_DEVIATIONS:g} deviations of an image around its mean"
)


def draw_image(image: Float[np.ndarray, "H W"], axes: Axes) -> None:
    """Draw pixels in grey, and hidden pixels (NaN) in a colour that does not occur in a radiograph."""
    axes.imshow(image, cmap="gray", vmin=-_DEVIATIONS, vmax=_DEVIATIONS, interpolation="nearest")
    axes.set_facecolor("#cfe3f2")
    axes.set_xticks([])
    axes.set_yticks([])


def write_image(image: Float[np.ndarray, "H W"], path: Path) -> Path:
    """Write a PNG of 16 bits whose comment states that it is synthetic."""
    stored = np.clip((image + _DEVIATIONS) / (2 * _DEVIATIONS), 0, 1) * 65535
    text = PngInfo()
    text.add_text("Comment", _WARNING)
    target = path.with_name(f"{path.name}.png")
    Image.fromarray(stored.round().astype(np.uint16)).save(target, pnginfo=text)
    return target


_VOI_NAMES = {"lut": "VOI lookup table", "none": "no VOI window, the whole range"}


def view_radiograph(raw: Radiograph, *, size: int) -> Picture:
    """Draw a radiograph in a square, placed as in ``XRay.prepare``, at an integer multiple of the model's pixels.

    Args:
        raw: decoded radiograph.
        size: side of the model's input in pixels.
    """
    longest = min(LONGEST_SIDE, max(raw.pixels.shape))
    side = size * max(1, longest // size) if size <= LONGEST_SIDE else LONGEST_SIDE
    top, bottom, left, right = (round(edge * side / size) for edge in placement(raw, size))
    stored = Image.fromarray(raw.pixels)
    shown = stored.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    grey = np.zeros((side, side), dtype=np.uint8)
    grey[top:bottom, left:right] = _as_bytes(np.asarray(shown))
    return Picture(grey=grey, caption=_caption(raw))


def _as_bytes(pixels: np.ndarray) -> UInt8[np.ndarray, "H W"]:
    return np.asarray((np.clip(pixels, 0, 1) * 255).round(), dtype=np.uint8)


def _caption(raw: Radiograph) -> str:
    height, width = raw.pixels.shape
    facts = raw.facts
    parts = [f"{height} x {width} pixels" + (f" of {facts['bits']:g} bits" if "bits" in facts else "")]
    if "voi" in facts:
        voi = str(facts["voi"])
        window = _VOI_NAMES.get(voi, f"VOI window ({voi.lower().replace('_', ' ')})")
        parts.append(f"{window}{_window_number(str(facts.get('voi_chosen', 'none')))}")
    if facts.get("inverted") == "yes":
        parts.append("inverted, so that dense tissue is bright")
    return ", ".join(parts)


def _window_number(chosen: str) -> str:
    """Return the number of the chosen window, counted from 1, as text; empty if it is the only one."""
    index, _, count = chosen.partition(" of ")
    return f" {int(index) + 1} of {count}" if count not in ("", "1") else ""
