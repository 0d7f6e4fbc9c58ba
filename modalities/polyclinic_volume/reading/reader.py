"""Read a DICOM series or a NIfTI file, as the first bytes of a source decide."""

from pathlib import Path

from polyclinic.modality import UnreadableSource
from polyclinic_volume.reading.nifti import read_nifti
from polyclinic_volume.reading.series import read_series
from polyclinic_volume.voxels import Kind, Voxels

_GZIP = b"\x1f\x8b"
_SIZES = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}


def read_volume(source: Path, *, kind: Kind | None) -> Voxels:
    """Decode a folder or file of a DICOM series, or a NIfTI file; see ``read_series`` and ``read_nifti``.

    Raises:
        UnreadableSource: the source is neither, or broken.
    """
    if not source.is_dir() and is_nifti(source):
        return read_nifti(source, kind=kind)
    return read_series(source, kind=kind)


def is_nifti(path: Path) -> bool:
    """Return whether a file starts as NIfTI, or as anything that was compressed by gzip.

    Raises:
        UnreadableSource: the file cannot be opened.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError as error:
        raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
    return head in _SIZES or head.startswith(_GZIP)
