"""Radiographs without what names their patient: a clean header, decoded pixels, and no words that are seen in them."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRLittleEndian, UID_dictionary

from polyclinic.modality import (
    Cleaned,
    DicomStandard,
    Identity,
    UnreadableSource,
    clean_dicom,
    nested_names,
)
from polyclinic_xray.burned_in import suspect_words
from polyclinic_xray.concerns import raster_names
from polyclinic_xray.dicom import Stored, parse_dicom, read_stored
from polyclinic_xray.radiograph import Radiograph

STANDARD = DicomStandard(
    item=Dataset,
    keyword=keyword_for_tag,
    sop_classes={uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "SOP Class"},
)
"""What pydicom knows."""


def header_names(source: Path) -> Iterable[str]:
    """Names in a DICOM header, at any depth; of a raster those that a label or a tag of its metadata gives."""
    with source.open("rb") as stream:
        is_raster = stream.read(3) in (b"\x89PN", b"\xff\xd8\xff")
    with warnings.catch_warnings():
        # pydicom and Pillow warn of every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        return raster_names(source) if is_raster else list(dict.fromkeys(nested_names(parse_dicom(source))))


def write_clean(source: Path, raw: Radiograph, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
    """Write a DICOM file as DICOM and a raster as PNG, both without compression that loses anything.

    Pixels are always written decoded: comments of a compressed stream, bits above the stored ones and what lies behind
    the last row stay behind.

    Args:
        source: which was read.
        raw: what was read of it.
        out: where to write, without a suffix.
        identity: of the patient.
        suspects: whether to write an image although words are suspected in it.

    Raises:
        UnreadableSource: words are suspected in the pixels, or the file lacks what every DICOM file must have.
    """
    if not suspects and suspect_words(raw.pixels):
        raise UnreadableSource("a row of marks in the pixels looks like a word; look at it, and see `--keep-suspects`")
    if raw.facts["format"] != "dicom":
        return _write_raster(raw, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _write_dicom(read_stored(source), out, identity, suspects=suspects)
        except (UnreadableSource, OSError):
            raise
        except Exception as error:
            raise UnreadableSource(f"its header cannot be cleaned or written ({type(error).__name__})") from None


def _write_raster(raw: Radiograph, out: Path) -> Cleaned:
    """Pixels alone: a colour that was read as its luminance is written as that."""
    most = 2 ** int(raw.facts["bits"]) - 1
    stored = np.round(raw.pixels.astype(np.float64) * most).astype(np.uint8 if most == 255 else np.uint16)
    written = out.with_name(f"{out.name}.png")
    Image.fromarray(stored).save(written)
    return Cleaned(source=written, removed={"metadata of a raster": 1})


def _write_dicom(stored: Stored, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
    dataset = stored.dataset
    if not suspects and str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise UnreadableSource("the header says BurnedInAnnotation YES; look at it, and see `--keep-suspects`")
    if not dataset.get("SOPClassUID"):
        raise UnreadableSource("DICOM without a SOP Class UID, which a file must have")
    clean, removed = clean_dicom(dataset, identity=identity, standard=STANDARD)
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        # Unused entries of a palette may hold text.
        _set_pixels(clean, colours := apply_color_lut(stored.pixels, dataset))
        clean.BitsStored, clean.HighBit = colours.dtype.itemsize * 8, colours.dtype.itemsize * 8 - 1
        clean.PixelRepresentation = 0
    else:
        _set_pixels(clean, stored.pixels)
    removed["bits above those stored"] += stored.unused == "cleared"
    if not clean.get("SOPInstanceUID"):
        clean.SOPInstanceUID = identity.uid(out.name)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = clean.SOPClassUID, clean.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = out.with_name(f"{out.name}.dcm")
    FileDataset("", dict(clean), file_meta=meta, preamble=b"\0" * 128).save_as(written, enforce_file_format=True)
    return Cleaned(source=written, removed=+removed)


def _set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW"
    if pixels.ndim == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration, dataset.SamplesPerPixel = "RGB", 0, 3
