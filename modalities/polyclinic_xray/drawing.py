"""Pictures of a radiograph: the service's view, a heat map of relevance, and imputed radiographs."""

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

_STRONGEST = 0.75
"""Opacity of the most relevant patch: what lies under it stays visible."""


def draw_heat(relevance: Float[Tensor, " T"], size: int, axes: Axes) -> None:
    """Lay the relevance of a square grid of patches over an image of ``size`` pixels.

    Raises:
        ValueError: no token at all, or a relevance that cannot be drawn.
    """
    strength = patch_grid(relevance)
    heat = to_rgba_array(HEAT, alpha=strength.ravel() * _STRONGEST).reshape(*strength.shape, 4)
    edges = (-0.5, size - 0.5, size - 0.5, -0.5)
    axes.imshow(heat, extent=edges, interpolation="bilinear")


def patch_grid(relevance: Float[Tensor, " T"]) -> Float[np.ndarray, "G G"]:
    """Relevance of a square grid of patches, the top row first, as a share of the largest.

    Class tokens stand ahead of the patches, and for no place: they are left out before the largest is sought.

    Raises:
        ValueError: no token at all, or a relevance that cannot be drawn.
    """
    side = isqrt(len(relevance))
    if not side:
        raise ValueError("got the relevance of 0 tokens, expected one for each patch; give a row of `token_relevance`")
    return relative_relevance(relevance[len(relevance) - side**2 :]).reshape(side, side)


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


_WINDOWS = {"lut": "VOI lookup table", "none": "no VOI window, the whole range"}


def view_radiograph(raw: Radiograph, *, size: int) -> Picture:
    """Show a radiograph in a square, placed as ``XRay.prepare`` places it, at a whole multiple of its pixels.

    Args:
        raw: decoded.
        size: side of what the model sees.
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
    message = [f"{height} x {width} pixels" + (f" of {facts['bits']:g} bits" if "bits" in facts else "")]
    if "voi" in facts:
        voi = str(facts["voi"])
        window = _WINDOWS.get(voi, f"VOI window ({voi.lower().replace('_', ' ')})")
        message.append(f"{window}{_which(str(facts.get('voi_chosen', 'none')))}")
    if facts.get("inverted") == "yes":
        message.append("inverted, so that dense tissue is bright")
    return ", ".join(message)


def _which(chosen: str) -> str:
    """Of several windows, counted from 1 as people do."""
    place, _, count = chosen.partition(" of ")
    return f" {int(place) + 1} of {count}" if count not in ("", "1") else ""
