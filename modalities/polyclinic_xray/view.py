"""What people see of a radiograph, in the frame that the model sees."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from polyclinic.modality import LONGEST_SIDE, Picture
from polyclinic_xray.radiograph import Radiograph, placement

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
    said = [f"{height} x {width} pixels" + (f" of {facts['bits']:g} bits" if "bits" in facts else "")]
    if "voi" in facts:
        voi = str(facts["voi"])
        window = _WINDOWS.get(voi, f"VOI window ({voi.lower().replace('_', ' ')})")
        said.append(f"{window}{_which(str(facts.get('voi_chosen', 'none')))}")
    if facts.get("inverted") == "yes":
        said.append("inverted, so that dense tissue is bright")
    return ", ".join(said)


def _which(chosen: str) -> str:
    """Of several windows, counted from 1 as people do."""
    place, _, count = chosen.partition(" of ")
    return f" {int(place) + 1} of {count}" if count not in ("", "1") else ""
