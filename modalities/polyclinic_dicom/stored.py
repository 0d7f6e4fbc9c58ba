"""Decode the stored pixel values of one image, before any lookup table (PS3.3 C.7.6.3)."""

from dataclasses import dataclass

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
from polyclinic_dicom.codestream import check_claim
from polyclinic_dicom.decoders import ENCAPSULATED_UNCOMPRESSED, decoder_of, name_of
from polyclinic_dicom.grey_jpeg import decode_grey

_UNCOMPRESSED = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
    ENCAPSULATED_UNCOMPRESSED,
)
_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
_NOT_STATED = "not stated"


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


def decode_stored(dataset: Dataset, *, max_pixels: int) -> Stored:
    """Decode the one image of a parsed dataset.

    Args:
        dataset: dataset with Pixel Data; a missing transfer syntax is added to it where the encoding is plain.
        max_pixels: largest number of pixels.

    Raises:
        UnreadableSource: the dataset does not hold exactly one decodable image.
    """
    syntax = _syntax(dataset)
    if syntax == _NOT_STATED:
        syntax = _assume_syntax(dataset)
    if syntax == ENCAPSULATED_UNCOMPRESSED:
        _unwrap(dataset)
    _refuse_unusable(dataset, syntax, max_pixels)
    pixels, decoder = _decode(dataset, syntax)
    return Stored(dataset, syntax, decoder, *_within(pixels, dataset, _limits(dataset), syntax))


def _unwrap(dataset: Dataset) -> None:
    """Replace encapsulated uncompressed pixels (PS3.5 A.4.11) by native ones, which pydicom decodes."""
    if "PixelData" in dataset:
        dataset.PixelData = get_frame(dataset.PixelData, 0, number_of_frames=1)
        dataset["PixelData"].VR = "OW"
        dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _refuse_unusable(dataset: Dataset, syntax: str, max_pixels: int) -> None:
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
    if not 0 < rows * columns <= max_pixels:
        raise UnreadableSource(f"DICOM of {rows} x {columns} pixels; expected 1 to {max_pixels:,} pixels")
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
