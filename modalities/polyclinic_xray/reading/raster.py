"""Read a PNG or JPEG file as pixels in [0, 1]."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from polyclinic.modality import UnreadableSource
from polyclinic_xray.radiograph import MAX_PIXELS, Radiograph, plausible_aspect

_TRANSPOSED_ORIENTATIONS = (5, 6, 7, 8)
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I")


def read_raster(path: Path) -> Radiograph:
    """Decode a grey or colour PNG (8 or 16 bit) or JPEG upright; colour becomes luminance.

    Raises:
        UnreadableSource: the file is truncated, of another format, or larger than ``MAX_PIXELS``.
    """
    with warnings.catch_warnings():
        # Pillow warns about odd metadata, which does not matter, and about bombs, which are refused by size below.
        warnings.simplefilter("ignore")
        try:
            return _read(path)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"image cannot be decoded ({type(error).__name__})") from None


def _read(path: Path) -> Radiograph:
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableSource(f"{image.height} x {image.width} image; expected at most {MAX_PIXELS:,} pixels")
        # Decoding a PNG ignores the checksums; a JPEG has none.
        image.verify()
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        kind, mode = str(image.format).lower(), image.mode
        upright = ImageOps.exif_transpose(image)
        bits = 16 if mode in _SIXTEEN_BIT_MODES else 8
        aspect = _pixel_aspect(image)
        values = np.asarray(upright if bits == 16 else upright.convert("L"), dtype=np.float32)
    pixels = np.clip(values / np.float32(2**bits - 1), 0, 1)
    height, width = pixels.shape
    facts: dict[str, float | str] = {"format": kind, "mode": mode, "bits": float(bits)}
    return Radiograph(pixels, {**facts, "rows": float(height), "columns": float(width)}, aspect)


def _pixel_aspect(image: Image.Image) -> float:
    """Return the height of a pixel of the upright image divided by its width, from PNG's pHYs or JPEG's density.

    The default is 1.
    """
    across, down = image.info.get("dpi") or image.info.get("aspect") or image.info.get("jfif_density") or (1, 1)
    transposed = image.getexif().get(Base.Orientation, 1) in _TRANSPOSED_ORIENTATIONS
    # Densities are pixels per length, so that the height of a pixel goes with the density across.
    height, width = (down, across) if transposed else (across, down)
    return plausible_aspect(float(height), float(width)) or 1.0
