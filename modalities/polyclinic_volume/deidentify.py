"""De-identify volumes: clean the header of every slice, and blank the texts of a NIfTI header.

What remains: a face can be drawn from a scan of a head, and text may be drawn in the pixels of a slice; neither is
searched for.
"""

import gzip
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from polyclinic.modality import Cleaned, Identity, UnreadableSource, nested_names
from polyclinic_dicom.stored import decode_stored
from polyclinic_dicom.write import clean_dataset, refused_if_not_writable, write_dataset
from polyclinic_volume.issues import NIFTI_TEXTS, text_of
from polyclinic_volume.reading.nifti import read_content
from polyclinic_volume.reading.series import decoded_frames, parse_slice
from polyclinic_volume.reading.slices import series_files

_PIXELS = 2**24


def series_names(source: Path) -> list[str]:
    """Return names and numbers in the header of the first slice of a series."""
    with warnings.catch_warnings():
        # pydicom warns about every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        slices = series_files(source).slices
        return list(dict.fromkeys(name for place in slices[:1] for name in nested_names(parse_slice(place.path))))


def write_clean_series(source: Path, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
    """Write every slice as a file of listed elements with decoded pixels; the same UID becomes the same UID in all.

    Args:
        source: folder or file of the series.
        out: path of the new files without number and suffix.
        identity: identity of the patient.
        suspects: whether to write slices whose header says that text is drawn in them.

    Raises:
        UnreadableSource: a header cannot be cleaned, or says that text is drawn in the pixels.
    """
    removed = Counter[str]()
    slices = series_files(source).slices
    targets = []
    for number, place in enumerate(slices, start=1):
        with refused_if_not_writable():
            dataset = parse_slice(place.path)
            if not suspects and str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES":
                raise UnreadableSource(
                    "a slice says that text is drawn in its pixels; look at it, and see `--keep-suspects`"
                )
            clean, changes = clean_dataset(dataset, identity=identity)
            if clean.pop("WaveformSequence", None) is not None:
                changes["elements not on the list"] += 1
            _set_pixels(clean, dataset)
            targets.append(write_dataset(clean, out.with_name(f"{out.name}-{number:05d}"), identity))
        removed.update(changes)
    return Cleaned(source=targets[0], removed=+removed)


def write_clean_nifti(source: Path, out: Path) -> Cleaned:
    """Write the same voxels and geometry under a header without texts and extensions.

    Raises:
        UnreadableSource: the file cannot be read.
    """
    parsed, content = read_content(source)
    header = parsed.header.copy()
    texts = [name for name in NIFTI_TEXTS if text_of(header, name)]
    for name in NIFTI_TEXTS:
        if name in header.structarr.dtype.names:
            header[name] = b""
    first = int(header["sizeof_hdr"]) + 4
    header["vox_offset"] = first
    head = header.binaryblock + bytes(first - int(header["sizeof_hdr"]))
    voxels = content[parsed.offset : parsed.offset + parsed.size]
    is_compressed = source.read_bytes()[:2] == b"\x1f\x8b"
    target = out.with_name(f"{out.name}.nii{'.gz' if is_compressed else ''}")
    target.write_bytes(gzip.compress(head + voxels, mtime=0) if is_compressed else head + voxels)
    removed = Counter(
        {"texts of a NIfTI header": len(texts), "extensions of a NIfTI header": int(parsed.offset > first)}
    )
    return Cleaned(source=target, removed=+removed)


def _set_pixels(clean: Dataset, dataset: Dataset) -> None:
    """Write pixels as decoded, which drops comments of a compressed stream and bits above the stored ones."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    pixels = (
        np.stack(list(decoded_frames(dataset))) if frames > 1 else decode_stored(dataset, max_pixels=_PIXELS).pixels
    )
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    clean.BitsAllocated = pixels.dtype.itemsize * 8
    clean.PixelData = content + b"\0" * (len(content) % 2)
    clean["PixelData"].VR = "OW"
