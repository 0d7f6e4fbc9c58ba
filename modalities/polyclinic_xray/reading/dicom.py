"""Read a DICOM file as pixels in [0, 1]: decode, mask the stored bits, apply the display LUTs (PS3.3 C.7.6.3, C.11)."""

import warnings
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from polyclinic.modality import UnreadableSource
from polyclinic_dicom.parse import parse_dicom
from polyclinic_dicom.stored import Stored, decode_stored
from polyclinic_xray.radiograph import MAX_PIXELS, Radiograph, plausible_aspect
from polyclinic_xray.reading.palette import palette_colours
from polyclinic_xray.reading.voi import to_display

_LUMA = np.array([0.299, 0.587, 0.114])
MAX_INFLATED_BYTES = 4 * MAX_PIXELS
"""Twice the size of the largest image of 16 bits, to leave room for the other elements of a deflated file."""

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


def read_dicom(path: Path, *, window: int = 0) -> Radiograph:
    """Decode the one image of a DICOM file.

    Args:
        path: DICOM file with or without the 128-byte preamble.
        window: index of the VOI lookup table to apply, or of the window if there are no tables.

    Raises:
        UnreadableSource: the file does not hold exactly one decodable image.
    """
    with warnings.catch_warnings():
        # pydicom warns about every odd value; what matters is whether the pixels decode.
        warnings.simplefilter("ignore")
        try:
            return _read(path, window)
        except UnreadableSource:
            raise
        except Exception as error:
            element = getattr(error, "name", None) or type(error).__name__
            raise UnreadableSource(f"DICOM elements are missing or invalid ({element})") from None


def read_stored(path: Path) -> Stored:
    """Parse a DICOM file and decode its stored pixel values.

    Raises:
        UnreadableSource: see ``read_dicom``.
    """
    return decode_stored(parse_radiograph(path), max_pixels=MAX_PIXELS)


def _read(path: Path, window: int) -> Radiograph:
    parsed = read_stored(path)
    dataset, stored = parsed.dataset, parsed.pixels
    facts = {**_facts(dataset, parsed.syntax, parsed.decoder), "unused_bits": parsed.unused}
    aspect, facts["spacing"] = _pixel_aspect(dataset)
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        colours = palette_colours(stored, dataset)
        return Radiograph(_luminance(colours, colours.dtype.itemsize * 8), facts, aspect)
    if stored.ndim == 3:
        return Radiograph(_luminance(stored, int(dataset.BitsStored)), facts, aspect)
    if str(dataset.PhotometricInterpretation) not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableSource(
            "one sample per pixel without a grey photometric interpretation; its polarity is unknown"
        )
    shown, steps = to_display(dataset, stored, limits=parsed.limits, window=window)
    return Radiograph(shown, {**facts, **steps}, aspect)


def parse_radiograph(path: Path) -> Dataset:
    """Parse a DICOM file without decoding its pixels.

    Raises:
        UnreadableSource: the file is too large, inflates to too much, cannot be parsed, or is empty.
    """
    dataset = parse_dicom(path, max_inflated=MAX_INFLATED_BYTES, expected="DICOM file")
    if not dataset:
        raise UnreadableSource("not a DICOM file: no data elements found")
    return dataset


def _luminance(colour: np.ndarray, bits: int) -> np.ndarray:
    """Return the luminance of an RGB image (ITU-R BT.601) in [0, 1]."""
    if colour.shape[-1] != 3:
        raise UnreadableSource(f"DICOM with {colour.shape[-1]} samples per pixel; expected 1 or 3")
    return np.clip(colour @ _LUMA / (2**bits - 1), 0, 1).astype(np.float32)


def _pixel_aspect(dataset: Dataset) -> tuple[float, str]:
    """Return the height of a pixel divided by its width, and the element that states it.

    A spacing lists the distance between rows, then between columns (PS3.3 10.7.1.3). Pixel Aspect Ratio (C.7.6.3.1.7)
    is used only if no spacing is usable.
    """
    unusable = "none"
    for name in _SPACINGS:
        try:
            value = dataset.get(name)
            if value is None or value == "":
                continue
            height, width = (float(number) for number in value)
            if (aspect := plausible_aspect(height, width)) is not None:
                return aspect, name
        except (TypeError, ValueError):
            pass  # another number of values, or a decimal comma
        unusable = f"{name} (not usable)"
    return 1.0, unusable


def _facts(dataset: Dataset, syntax: str, decoder: str) -> dict[str, float | str]:
    return {
        "format": "dicom",
        "transfer_syntax": syntax,
        "decoder": decoder,
        "photometric": str(dataset.PhotometricInterpretation),
        "bits": float(dataset.BitsStored),
        "rows": float(dataset.Rows),
        "columns": float(dataset.Columns),
    }
