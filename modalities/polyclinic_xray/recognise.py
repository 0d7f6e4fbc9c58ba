"""Recognise radiographs by their header."""

from dataclasses import replace
from pathlib import Path

from PIL import Image

from polyclinic.modality import Recognised, UnreadableSource
from polyclinic_dicom.header import read_header
from polyclinic_xray.reading.formats import SIGNATURE_BYTES, refuse_other_formats

_RASTER_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff")
_MODALITIES = ("", "CR", "DR", "DX", "RG")
"""Values of Modality for projection radiographs; old and converted files may have none (PS3.3 C.7.3.1.1.1)."""

_FRONTAL = ("", "AP", "PA")


def recognise_radiograph(path: Path) -> Recognised:
    """Return the identifiers in the header of a radiograph, frontal ones preferred; none for PNG and JPEG.

    Raises:
        UnreadableSource: the file is neither a raster image nor DICOM, or DICOM of another modality.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(SIGNATURE_BYTES)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
    if head.startswith(_RASTER_SIGNATURES):
        return _recognise_raster(path)
    refuse_other_formats(head)
    header = read_header(path)
    if header.modality not in _MODALITIES:
        raise UnreadableSource("DICOM of another modality than CR, DR, DX or RG")
    if not header.has_image:
        raise UnreadableSource("DICOM without an image")
    return replace(header.stated, preference=int(header.view.upper() not in _FRONTAL))


def _recognise_raster(path: Path) -> Recognised:
    try:
        with Image.open(path) as image:
            image.verify()
    except Exception as error:
        raise UnreadableSource(f"raster image cannot be parsed ({type(error).__name__})") from None
    return Recognised()
