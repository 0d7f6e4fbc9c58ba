"""From a DICOM file to pixels in [0, 1]: decode, keep the stored bits, show (PS3.3 C.7.6.3, C.11)."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from polyclinic.modality import UnreadableSource
from polyclinic_xray.radiograph import MAX_PIXELS, Radiograph
from polyclinic_xray.voi import to_display

_LUMA = np.array([0.299, 0.587, 0.114])
_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_JPEG2000 = (JPEG2000, JPEG2000Lossless)
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)


def read_dicom(path: Path, *, window: int = 0) -> Radiograph:
    """Decode the one image of a DICOM file.

    Args:
        path: a DICOM file with or without the 128-byte preamble.
        window: which of several VOI lookup tables, or else of several windows, to apply.

    Raises:
        UnreadableSource: no single decodable image; says which transfer syntax where the decoder failed.
    """
    with warnings.catch_warnings():
        # pydicom warns of every odd value; what matters is whether the pixels decode.
        warnings.simplefilter("ignore")
        try:
            return _read(path, window)
        except UnreadableSource:
            raise
        except Exception as error:
            raise UnreadableSource(f"DICOM elements are missing or invalid ({type(error).__name__})") from None


def _read(path: Path, window: int) -> Radiograph:
    dataset = _parse(path)
    _refuse_unusable(dataset)
    pixels = _decode(dataset)
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        return Radiograph(_luminance(pixels, pixels.dtype.itemsize * 8), _facts(dataset))
    if pixels.ndim == 3:
        return Radiograph(_luminance(pixels, int(dataset.BitsStored)), _facts(dataset))
    if str(dataset.PhotometricInterpretation) not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableSource(
            "one sample per pixel without a grey photometric interpretation; its polarity is unknown"
        )
    limits = _limits(dataset)
    shown, steps = to_display(dataset, _within(pixels, dataset, limits), limits=limits, window=window)
    return Radiograph(shown, {**_facts(dataset), **steps})


def _parse(path: Path) -> Dataset:
    try:
        # From memory, where an element that claims gigabytes gets what there is; a file would allocate them.
        dataset = pydicom.dcmread(BytesIO(path.read_bytes()), force=True)
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
    if _syntax(dataset) in _UNCOMPRESSED:
        # More than a whole row is no padding: then Rows or Columns are not those of these pixels.
        row = columns * int(dataset.get("SamplesPerPixel", 1)) * int(dataset.BitsAllocated) // 8
        if len(dataset.PixelData) >= (rows + 1) * max(row, 2):
            raise UnreadableSource(f"pixel data of {len(dataset.PixelData)} bytes for {rows} rows of {row} bytes")
    high_bit, bits = int(dataset.get("HighBit", dataset.BitsStored - 1)), int(dataset.BitsStored)
    if high_bit != bits - 1:
        raise UnreadableSource(f"DICOM with HighBit {high_bit} and BitsStored {bits}; expected HighBit {bits - 1}")


def _decode(dataset: Dataset) -> np.ndarray:
    if _syntax(dataset) in _JPEG2000:
        # OpenJPEG refuses a broken code stream, where gdcm ends the process.
        dataset.pixel_array_options(decoding_plugin="pylibjpeg")
    try:
        return np.asarray(dataset.pixel_array)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders in Rust panic past Exception
        raise UnreadableSource(
            f"pixel data cannot be decoded (transfer syntax {_syntax(dataset)}, {type(error).__name__})"
        ) from None


def _limits(dataset: Dataset) -> tuple[int, int]:
    """Smallest and largest value that the stored bits can hold."""
    bits = int(dataset.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)


def _within(pixels: np.ndarray, dataset: Dataset, limits: tuple[int, int]) -> np.ndarray:
    """Only the stored bits: what lies above them is overlay or text (PS3.5 section 8.1.1)."""
    if _syntax(dataset) in _LOSSY:
        return np.clip(pixels, *limits)  # ringing around the brightest value is no stray bit
    unused = pixels.dtype.itemsize * 8 - int(dataset.BitsStored)
    return (pixels << unused) >> unused if unused > 0 else pixels


def _luminance(colour: np.ndarray, bits: int) -> np.ndarray:
    """Luminance of an RGB image (ITU-R BT.601), scaled by its bit depth."""
    if colour.shape[-1] != 3:
        raise UnreadableSource(f"DICOM with {colour.shape[-1]} samples per pixel; expected 1 or 3")
    return np.clip(colour @ _LUMA / (2**bits - 1), 0, 1).astype(np.float32)


def _syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    return str(meta.get("TransferSyntaxUID", "not stated")) if meta is not None else "not stated"


def _facts(dataset: Dataset) -> dict[str, float | str]:
    """Provenance; ImagerPixelSpacing is named but never stands in for PixelSpacing."""
    spacing = [name for name in ("PixelSpacing", "ImagerPixelSpacing") if name in dataset]
    return {
        "format": "dicom",
        "transfer_syntax": _syntax(dataset),
        "photometric": str(dataset.PhotometricInterpretation),
        "bits": float(dataset.BitsStored),
        "spacing": spacing[0] if spacing else "none",
        "rows": float(dataset.Rows),
        "columns": float(dataset.Columns),
    }
