"""From a DICOM file to pixels in [0, 1]: decode, modality LUT, VOI, inversion, scale (PS3.3 C.7.6.3, C.11)."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

from polyclinic.modality import UnreadableSource
from polyclinic_xray.radiograph import MAX_PIXELS, Radiograph

_LUMA = np.array([0.299, 0.587, 0.114])


def read_dicom(path: Path, *, window: int = 0) -> Radiograph:
    """Decode the one image of a DICOM file.

    Args:
        path: a DICOM file with or without the 128-byte preamble.
        window: which of several VOI windows or lookup tables to apply.

    Raises:
        UnreadableSource: no single decodable image; says which transfer syntax where the decoder failed.
    """
    with warnings.catch_warnings():
        # pydicom warns of every odd value; what matters is whether the pixels decode.
        warnings.simplefilter("ignore")
        dataset = _parse(path)
        _refuse_unusable(dataset)
        stored = _decode(dataset)
        if stored.ndim == 3:
            return Radiograph(_grey(stored, dataset), _facts(dataset, "none"))
        return _displayed(dataset, stored, window)


def _parse(path: Path) -> Dataset:
    try:
        dataset = pydicom.dcmread(path, force=True)
    except Exception as error:
        raise UnreadableSource(f"not a DICOM file that can be parsed ({type(error).__name__})") from None
    if not dataset:
        raise UnreadableSource("not a DICOM file: no data elements found")
    return dataset


def _refuse_unusable(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        found = [name for name in ("FloatPixelData", "DoubleFloatPixelData", "WaveformSequence") if name in dataset]
        raise UnreadableSource(f"DICOM without integer Pixel Data (found {', '.join(found) or 'no image element'})")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnreadableSource(f"DICOM with {frames} frames; expected one image")
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not 0 < rows * columns <= MAX_PIXELS:
        raise UnreadableSource(f"DICOM of {rows} x {columns} pixels; expected 1 to {MAX_PIXELS:,} pixels")


def _decode(dataset: Dataset) -> np.ndarray:
    try:
        return np.asarray(dataset.pixel_array)
    except Exception as error:
        raise UnreadableSource(
            f"pixel data cannot be decoded (transfer syntax {_syntax(dataset)}, {type(error).__name__})"
        ) from None


def _displayed(dataset: Dataset, stored: np.ndarray, window: int) -> Radiograph:
    """Grey values as a display would show them, scaled by the range that the tags declare."""
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        return Radiograph(_grey(apply_color_lut(stored, dataset), dataset), _facts(dataset, "none"))
    try:
        values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset, index=window)
    except Exception as error:
        raise UnreadableSource(f"lookup table or window cannot be applied ({type(error).__name__})") from None
    low, high = _range(dataset, window)
    pixels = np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    if str(dataset.PhotometricInterpretation) == "MONOCHROME1":
        pixels = 1.0 - pixels
    return Radiograph(pixels.astype(np.float32), _facts(dataset, _voi(dataset)))


def _range(dataset: Dataset, window: int) -> tuple[float, float]:
    """Smallest and largest value that may come out of the lookup tables."""
    if _voi(dataset) == "lut":
        tables = dataset.VOILUTSequence
        return 0.0, float(2 ** int(tables[window].LUTDescriptor[2]) - 1)
    if "ModalityLUTSequence" in dataset:
        return 0.0, float(2 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    bits = int(dataset.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return ends[0], max(ends[1], ends[0] + 1e-6)


def _voi(dataset: Dataset) -> str:
    if dataset.get("VOILUTSequence"):
        return "lut"
    return "window" if dataset.get("WindowWidth") not in (None, "") else "none"


def _grey(colour: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Luminance of an RGB image (ITU-R BT.601), scaled by its bit depth."""
    depth = 16 if colour.dtype.itemsize == 2 else 8
    if str(dataset.PhotometricInterpretation) != "PALETTE COLOR":
        depth = int(dataset.BitsStored)
    return np.clip(colour[..., :3] @ _LUMA / (2**depth - 1), 0, 1).astype(np.float32)


def _syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    return str(meta.get("TransferSyntaxUID", "not stated")) if meta is not None else "not stated"


def _facts(dataset: Dataset, voi: str) -> dict[str, float | str]:
    return {
        "format": "dicom",
        "transfer_syntax": _syntax(dataset),
        "photometric": str(dataset.PhotometricInterpretation),
        "bits": float(dataset.BitsStored),
        "voi": voi,
        "spacing": "PixelSpacing" if "PixelSpacing" in dataset else "none",
        "rows": float(dataset.Rows),
        "columns": float(dataset.Columns),
    }
