"""Read a DICOM file as pixels in [0, 1]: decode, mask the stored bits, apply the display LUTs (PS3.3 C.7.6.3, C.11)."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from polyclinic.modality import UnreadableSource
from polyclinic_dicom.parse import parse_dicom
from polyclinic_xray.radiograph import MAX_PIXELS, Radiograph, plausible_aspect
from polyclinic_xray.reading.codestream import check_claim
from polyclinic_xray.reading.decoders import ENCAPSULATED_UNCOMPRESSED, decoder_of, name_of
from polyclinic_xray.reading.grey_jpeg import decode_grey
from polyclinic_xray.reading.palette import palette_colours
from polyclinic_xray.reading.voi import to_display

_LUMA = np.array([0.299, 0.587, 0.114])
_UNCOMPRESSED = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
    ENCAPSULATED_UNCOMPRESSED,
)
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
MAX_INFLATED_BYTES = 4 * MAX_PIXELS
"""Twice the size of the largest image of 16 bits, to leave room for the other elements of a deflated file."""

_NOT_STATED = "not stated"
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


@dataclass(frozen=True)
class Stored:
    """A parsed file with its decoded pixels.

    Attributes:
        dataset: parsed dataset.
        syntax: transfer syntax UID.
        decoder: pydicom's name of the decoder.
        pixels: stored pixel values, limited to the stored bits.
        unused: state of the bits above the stored ones: ``empty``, or ``cleared`` or ``clipped`` if they were used.
    """

    dataset: Dataset
    syntax: str
    decoder: str
    pixels: np.ndarray
    unused: str

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value that the stored bits can hold."""
        return _limits(self.dataset)


def read_stored(path: Path) -> Stored:
    """Parse a DICOM file and decode its stored pixel values.

    Raises:
        UnreadableSource: see ``read_dicom``.
    """
    dataset = parse_radiograph(path)
    syntax = _syntax(dataset)
    if syntax == _NOT_STATED:
        syntax = _assume_syntax(dataset)
    if syntax == ENCAPSULATED_UNCOMPRESSED:
        _unwrap(dataset)
    _refuse_unusable(dataset, syntax)
    pixels, decoder = _decode(dataset, syntax)
    return Stored(dataset, syntax, decoder, *_within(pixels, dataset, _limits(dataset), syntax))


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
    shown, steps = to_display(dataset, stored, limits=_limits(dataset), window=window)
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


def _unwrap(dataset: Dataset) -> None:
    """Replace encapsulated uncompressed pixels (PS3.5 A.4.11) by native ones, which pydicom decodes."""
    if "PixelData" in dataset:
        dataset.PixelData = get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset["PixelData"].VR = "OW"
        dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _refuse_unusable(dataset: Dataset, syntax: str) -> None:
    if "PixelData" not in dataset:
        found = [name for name in ("FloatPixelData", "DoubleFloatPixelData", "WaveformSequence") if name in dataset]
        kind = f" of kind {UID(str(dataset.SOPClassUID)).name}" if "SOPClassUID" in dataset else ""
        raise UnreadableSource(
            f"got DICOM{kind} without integer Pixel Data (found {', '.join(found) or 'no image element'})"
        )
    if decoder_of(syntax) is None and syntax != _NOT_STATED:
        raise UnreadableSource(f"pixel data cannot be decoded (no decoder for transfer syntax {name_of(syntax)})")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnreadableSource(f"DICOM with {frames} frames; expected one image")
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    if not 0 < rows * columns <= MAX_PIXELS:
        raise UnreadableSource(f"DICOM of {rows} x {columns} pixels; expected 1 to {MAX_PIXELS:,} pixels")
    if syntax in _UNCOMPRESSED:
        # A complete row of different values is not padding: Rows or Columns do not belong to these pixels.
        row = columns * int(dataset.get("SamplesPerPixel", 1)) * int(dataset.BitsAllocated) // 8
        beyond = dataset.PixelData[rows * row :]
        if len(beyond) >= max(row, 2) and beyond.strip(beyond[:1]):
            raise UnreadableSource(f"pixel data of {len(dataset.PixelData)} bytes for {rows} rows of {row} bytes")
    high_bit, bits = int(dataset.get("HighBit", dataset.BitsStored - 1)), int(dataset.BitsStored)
    if high_bit != bits - 1:
        raise UnreadableSource(f"DICOM with HighBit {high_bit} and BitsStored {bits}; expected HighBit {bits - 1}")


def _decode(dataset: Dataset, syntax: str) -> tuple[np.ndarray, str]:
    """Return the decoded pixels and the name of the decoder."""
    decoder = decoder_of(syntax)
    claim = check_claim(dataset, syntax) if decoder else None
    # Bits above the stored ones are cleared in ``_within``, which records whether any were set.
    dataset.pixel_array_options(decoding_plugin=decoder or "", correct_unused_bits=False)
    try:
        if claim and claim.samples == 1 and decoder == "gdcm":
            return decode_grey(dataset, syntax, claim), decoder
        return np.asarray(dataset.pixel_array), decoder or "none"
    except (KeyboardInterrupt, SystemExit, UnreadableSource):
        raise
    except BaseException as error:  # decoders in Rust panic past Exception
        raise UnreadableSource(
            f"pixel data cannot be decoded (transfer syntax {syntax}, {type(error).__name__})"
        ) from None


def _limits(dataset: Dataset) -> tuple[int, int]:
    """Return the smallest and largest value that the stored bits can hold."""
    bits = int(dataset.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)


def _within(pixels: np.ndarray, dataset: Dataset, limits: tuple[int, int], syntax: str) -> tuple[np.ndarray, str]:
    """Limit pixels to the stored bits, because other bits may hold an overlay (PS3.5 8.1.1), and return the change."""
    if syntax in _LOSSY:
        within, done = np.clip(pixels, *limits), "clipped"  # ringing around the brightest value is not an overlay
    else:
        unused = max(0, pixels.dtype.itemsize * 8 - int(dataset.BitsStored))
        within, done = (pixels << unused) >> unused, "cleared"
    return within, "empty" if np.array_equal(within, pixels) else done


def _luminance(colour: np.ndarray, bits: int) -> np.ndarray:
    """Return the luminance of an RGB image (ITU-R BT.601) in [0, 1]."""
    if colour.shape[-1] != 3:
        raise UnreadableSource(f"DICOM with {colour.shape[-1]} samples per pixel; expected 1 or 3")
    return np.clip(colour @ _LUMA / (2**bits - 1), 0, 1).astype(np.float32)


def _syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    return str(meta.get("TransferSyntaxUID", _NOT_STATED)) if meta is not None else _NOT_STATED


def _assume_syntax(dataset: Dataset) -> str:
    """Add the encoding that the parser found to a file without meta information, if its pixels are native."""
    implicit, little = dataset.original_encoding
    if "PixelData" not in dataset or dataset["PixelData"].is_undefined_length:
        return _NOT_STATED
    plain = {(True, True): ImplicitVRLittleEndian, (False, True): ExplicitVRLittleEndian}
    syntax = plain.get((bool(implicit), bool(little)), ExplicitVRBigEndian)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return str(syntax)


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
