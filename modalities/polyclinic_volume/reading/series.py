"""Read a DICOM series, or a file of several frames, as one volume in physical units."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID

from polyclinic.modality import UnreadableSource
from polyclinic_dicom.parse import parse_dicom
from polyclinic_dicom.stored import decode_stored
from polyclinic_volume.reading.geometry import ordered
from polyclinic_volume.reading.slices import MODALITIES, Series, Slice, numbers_of, series_files, slice_of
from polyclinic_volume.voxels import MAX_VOXELS, Kind, Voxels, refuse_values, reoriented

_MAX_SLICE_PIXELS = 2**24
_MAX_INFLATED_BYTES = 2**29
_MAX_MAGNITUDE = 1e6
_UNITS = ("", "HU", "US")
"""Rescale Type of CT: Hounsfield units, or not stated (PS3.3 C.11.1.1.2)."""

_CHANGED = "a slice changed while its series was read"


def read_series(source: Path, *, kind: Kind | None) -> Voxels:
    """Decode the series of a file or folder; see ``series_files``.

    Args:
        source: folder, or a file of the series.
        kind: kind that is expected; None accepts CT and MR.

    Raises:
        UnreadableSource: the source is no complete series of one scan, or of another kind.
    """
    with warnings.catch_warnings():
        # pydicom warns about every odd value; what matters is checked here.
        warnings.simplefilter("ignore")
        try:
            return _read(series_files(source), kind)
        except UnreadableSource:
            raise
        except Exception as error:
            element = getattr(error, "name", None) or type(error).__name__
            raise UnreadableSource(f"DICOM elements are missing or invalid ({element})") from None


def kind_of(slices: Sequence[Slice]) -> Kind:
    """Return the kind of a series.

    Raises:
        UnreadableSource: it is neither CT nor MR.
    """
    modality = slices[0].modality
    if modality not in MODALITIES:
        raise UnreadableSource("DICOM of another modality than CT and MR")
    return "ct" if MODALITIES[modality] == "ct" else "mr"


def parse_slice(path: Path) -> Dataset:
    """Parse a file of a series without decoding its pixels.

    Raises:
        UnreadableSource: the file cannot be parsed.
    """
    return parse_dicom(path, max_inflated=_MAX_INFLATED_BYTES, expected="DICOM slice")


def decoded_frames(dataset: Dataset) -> Iterator[np.ndarray]:
    """Yield the stored pixels of each frame of a dataset.

    Raises:
        UnreadableSource: a frame cannot be decoded.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    for number in range(frames):
        yield decode_stored(_single(dataset, number, frames), max_pixels=_MAX_SLICE_PIXELS).pixels


def _read(series: Series, kind: Kind | None) -> Voxels:
    slices = series.slices
    found = kind_of(slices)
    if kind is not None and found != kind:
        raise UnreadableSource(f"got {found.upper()}, expected {kind.upper()}; set `kind` of the volume plugin")
    multiframe = sum(each.frames > 1 for each in slices)
    if multiframe and len(slices) > 1:
        raise UnreadableSource(f"a series of {len(slices)} files, of which {multiframe} have several frames")
    if not multiframe:
        places, affine = ordered(slices)
        values, facts = _stack(places, found)
    else:
        if slices[0].frames > MAX_VOXELS // max(1, slices[0].size[0] * slices[0].size[1]):
            raise UnreadableSource(f"DICOM of {slices[0].frames} frames; expected at most {MAX_VOXELS:,} voxels")
        dataset = parse_slice(slices[0].path)
        places, affine = ordered(_frames(dataset, slices[0].path))
        values, facts = _unstack(dataset, places, found)
    numbers = [each.number for each in places if each.number]
    facts |= {"slices": float(len(places)), "broken_beside": float(series.broken)}
    facts |= {"repeated_numbers": float(len(numbers) - len(set(numbers)))}
    turned, affine = reoriented(values, affine)
    refuse_values(turned)
    return Voxels(turned, affine, found, facts)


def _stack(places: Sequence[Slice], kind: Kind) -> tuple[Float32[np.ndarray, "I J K"], dict[str, float | str]]:
    rows, columns = places[0].size
    values = np.empty((len(places), rows, columns), dtype=np.float32)
    facts: dict[str, float | str] = {}
    for index, place in enumerate(places):
        dataset = parse_slice(place.path)
        found = slice_of(dataset, place.path)
        if (found.instance, found.series, found.position) != (place.instance, place.series, place.position):
            raise UnreadableSource(_CHANGED)
        stored = decode_stored(dataset, max_pixels=_MAX_SLICE_PIXELS)
        _fill(values[index], stored.pixels, dataset, dataset, kind)
        facts = facts or _facts(dataset, stored.syntax)
    return values.transpose(2, 1, 0), facts


def _unstack(
    dataset: Dataset, places: Sequence[Slice], kind: Kind
) -> tuple[Float32[np.ndarray, "I J K"], dict[str, float | str]]:
    rows, columns = places[0].size
    values = np.empty((len(places), rows, columns), dtype=np.float32)
    order = {place.frame: index for index, place in enumerate(places)}
    for frame, pixels in enumerate(decoded_frames(dataset)):
        scaling = _macro(dataset, frame, "PixelValueTransformationSequence")
        _fill(values[order[frame]], pixels, dataset if scaling is None else scaling, dataset, kind)
    return values.transpose(2, 1, 0), _facts(dataset, str(dataset.file_meta.TransferSyntaxUID))


def _fill(out: Float32[np.ndarray, "R C"], pixels: np.ndarray, scaling: Dataset, image: Dataset, kind: Kind) -> None:
    """Write a slice in physical units (PS3.3 C.11.1.1): stored value times slope plus intercept."""
    if pixels.shape != out.shape:
        raise UnreadableSource("slice of colours or of another size than its header states; expected grey values")
    slope, intercept = scaling.get("RescaleSlope"), scaling.get("RescaleIntercept")
    if kind == "ct":
        if slope in (None, "") or intercept in (None, ""):
            raise UnreadableSource("CT slice without Rescale Slope and Intercept, so not in Hounsfield units")
        if str(scaling.get("RescaleType") or "").strip().upper() not in _UNITS:
            raise UnreadableSource("CT slice in other units than Hounsfield units, as of a derived image")
    by, plus = float(1 if slope in (None, "") else slope), float(0 if intercept in (None, "") else intercept)
    if not (np.isfinite([by, plus]).all() and by != 0 and max(abs(by), abs(plus)) <= _MAX_MAGNITUDE):
        raise UnreadableSource("slice with a Rescale Slope or Intercept that is zero, not finite or beyond 1e6")
    out[:] = pixels.astype(np.float64) * by + plus


def _frames(dataset: Dataset, path: Path) -> list[Slice]:
    """Return the frames of an enhanced CT or MR image (PS3.3 C.7.6.16) as slices."""
    shared = slice_of(dataset, path)
    slices = []
    for frame in range(shared.frames):
        position = _macro(dataset, frame, "PlanePositionSequence")
        orientation = _macro(dataset, frame, "PlaneOrientationSequence")
        measures = _macro(dataset, frame, "PixelMeasuresSequence")
        if position is None or orientation is None or measures is None:
            raise UnreadableSource("DICOM of several frames without position, orientation and spacing of each")
        place = replace(
            shared,
            position=numbers_of(position.get("ImagePositionPatient")),
            orientation=numbers_of(orientation.get("ImageOrientationPatient")),
            spacing=numbers_of(measures.get("PixelSpacing")),
            frame=frame,
        )
        slices.append(place)
    return slices


def _macro(dataset: Dataset, frame: int, name: str) -> Dataset | None:
    """Return the item of a functional group of a frame, which may be shared by all."""
    own, shared = (dataset.get(f"{kind}FunctionalGroupsSequence") for kind in ("PerFrame", "Shared"))
    groups: list[Any] = [own[frame]] if own and frame < len(own) else []
    groups += [shared[0]] if shared else []
    for group in groups:
        if items := group.get(name):
            item: Dataset = items[0]
            return item
    return None


def _single(dataset: Dataset, number: int, frames: int) -> Dataset:
    """Return a dataset of one frame."""
    if frames == 1:
        return dataset
    single = Dataset()
    for keyword in (
        *("SOPClassUID", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
        *("SamplesPerPixel", "PhotometricInterpretation"),
    ):
        if keyword in dataset:
            setattr(single, keyword, dataset[keyword].value)
    single.file_meta = dataset.file_meta
    is_native = not UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated
    if is_native:
        size = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel", 1))
        size = size * int(dataset.BitsAllocated) // 8
        content = dataset.PixelData[number * size : (number + 1) * size]
        if len(content) < size:
            raise UnreadableSource(f"pixel data of {len(dataset.PixelData)} bytes for {frames} frames of {size} bytes")
        single.PixelData = content
    else:
        single.PixelData = encapsulate([get_frame(dataset.PixelData, number, number_of_frames=frames)])
        single["PixelData"].is_undefined_length = True
    single["PixelData"].VR = "OW"
    single.set_original_encoding(*dataset.original_encoding)
    return single


def _facts(dataset: Dataset, syntax: str) -> dict[str, float | str]:
    facts: dict[str, float | str] = {
        "format": "dicom",
        "transfer_syntax": syntax,
        "bits": float(dataset.BitsStored),
        "modality": str(dataset.get("Modality", "")),
    }
    part = str(dataset.get("BodyPartExamined") or "").strip().upper()
    return facts | ({"body_part": part} if part.isalpha() and len(part) <= 16 else {})
