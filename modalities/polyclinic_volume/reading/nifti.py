"""Read and write NIfTI-1 and NIfTI-2 files within bounds, by nibabel."""

import gzip
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Real

from polyclinic.modality import UnreadableSource
from polyclinic_volume.reading.sidecar import stated_kind
from polyclinic_volume.voxels import Kind, Voxels, refuse_geometry, refuse_size, refuse_values, reoriented

_GZIP = b"\x1f\x8b"
_HEADERS = {348: ("Nifti1Header", 344, b"n+1\0"), 540: ("Nifti2Header", 4, b"n+2\0")}
"""By the size of the header, its class in nibabel, and the place and value of the magic number."""

_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_MAX_OFFSET = 2**24
"""Largest place of the first voxel; extensions of the header lie before it."""

_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Length of the spatial units, by code; 0 is not stated, which most writers mean as millimetres."""


class Parsed(NamedTuple):
    """A checked header of nibabel, the place of the first voxel, and the bytes of all voxels."""

    header: Any
    offset: int
    size: int


def read_nifti(path: Path, *, kind: Kind | None) -> Voxels:
    """Decode a NIfTI file of three dimensions.

    Args:
        path: file, with or without gzip.
        kind: kind of the volume, which NIfTI does not state; None takes it from the JSON file beside it.

    Raises:
        UnreadableSource: the file is truncated, not NIfTI, too large, not one volume, without a stated orientation,
            or of an unknown kind; or nibabel is not installed.
    """
    found = _kind(path, kind)
    parsed, content = read_content(path)
    affine = stated_affine(parsed.header)
    slope, intercept = _scaling(parsed.header)
    shape = volume_shape(parsed.header)
    # Not by nibabel's image, which refuses or corrects fields of the header that decide nothing here.
    dtype = parsed.header.get_data_dtype()
    stored = np.frombuffer(content, dtype, count=int(np.prod(shape)), offset=parsed.offset).reshape(shape, order="F")
    values = stored.astype(np.float32) if (slope, intercept) == (1.0, 0.0) else stored * slope + intercept
    with np.errstate(over="ignore"):
        values, affine = reoriented(np.asarray(values, dtype=np.float32), affine)
    refuse_values(values)
    return Voxels(values, affine, found, _facts(parsed.header, path))


def read_header(path: Path) -> Parsed:
    """Parse and check the header of a NIfTI file, and nothing else.

    Raises:
        UnreadableSource: see ``read_nifti``.
    """
    try:
        with _opened(path) as stream:
            return _parsed(stream.read(max(_HEADERS)))
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableSource(f"NIfTI file cannot be read ({type(error).__name__})") from None


def read_content(path: Path) -> tuple[Parsed, bytes]:
    """Read as many bytes of a file as its header claims, and check that these are all.

    Raises:
        UnreadableSource: see ``read_nifti``.
    """
    try:
        with _opened(path) as stream:
            head = stream.read(max(_HEADERS))
            parsed = _parsed(head)
            missing = parsed.offset + parsed.size - len(head)
            content = head[: parsed.offset + parsed.size] + stream.read(max(0, missing))
            rest = stream.read(1) if missing >= 0 else head[parsed.offset + parsed.size :]
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableSource(f"NIfTI file is truncated or damaged ({type(error).__name__})") from None
    if len(content) < parsed.offset + parsed.size:
        got, expected = max(0, len(content) - parsed.offset), parsed.size
        raise UnreadableSource(f"NIfTI file is truncated: got {got:,} of {expected:,} bytes of voxels")
    if rest:
        raise UnreadableSource("NIfTI file with more bytes than its header states")
    return parsed, content


def volume_shape(header: Any) -> tuple[int, int, int]:
    """Return the three sides of a checked header, without trailing dimensions of one."""
    rows, columns, slices = (int(side) for side in header["dim"][1:4])
    return rows, columns, slices


def write_nifti(
    path: Path, values: Real[np.ndarray, "X Y Z"], affine: Float64[np.ndarray, "4 4"], *, description: str
) -> Path:
    """Write a volume in RAS as NIfTI-1, compressed if the name ends in ``.gz``.

    Args:
        path: path with its suffix.
        values: voxels, stored in their own type.
        affine: map from voxel numbers to millimetres.
        description: text of at most 79 characters in the header.
    """
    image = _nibabel().Nifti1Image(values, affine)
    image.header["descrip"] = description.encode("ascii")
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    content = image.to_bytes()
    # No time stamp, so that equal volumes are equal files.
    path.write_bytes(gzip.compress(content, compresslevel=1, mtime=0) if path.suffix == ".gz" else content)
    return path


def _kind(path: Path, expected: Kind | None) -> Kind:
    found = stated_kind(path) or expected
    if found is None:
        raise UnreadableSource("NIfTI states neither CT nor MR; set `kind` of the volume plugin")
    if expected is not None and found != expected:
        raise UnreadableSource(f"got {found.upper()}, expected {expected.upper()}; set `kind` of the volume plugin")
    return found


def _nibabel() -> Any:
    try:
        # Imported on first use: it is in the extra ``volume``, and a series of DICOM does not need it.
        return import_module("nibabel")
    except ModuleNotFoundError:
        raise UnreadableSource("got no nibabel, which NIfTI files need; install polyclinic[volume]") from None


def _opened(path: Path) -> Any:
    with path.open("rb") as stream:
        is_compressed = stream.read(2) == _GZIP
    return gzip.open(path) if is_compressed else path.open("rb")


def _parsed(head: bytes) -> Parsed:
    nibabel = _nibabel()
    sizes = {"<": int.from_bytes(head[:4], "little"), ">": int.from_bytes(head[:4], "big")}
    order, size = next(((order, size) for order, size in sizes.items() if size in _HEADERS), ("", 0))
    if not size:
        raise UnreadableSource("not a NIfTI file")
    name, place, magic = _HEADERS[size]
    if len(head) < size or head[place : place + 4] != magic:
        raise UnreadableSource("NIfTI header that is truncated, or of a pair of .hdr and .img; expected one .nii file")
    header = getattr(nibabel, name)(binaryblock=head[:size], endianness=order, check=False)
    return Parsed(header, *_checked(header))


def _checked(header: Any) -> tuple[int, int]:
    """Return the place of the first voxel and the bytes of all voxels."""
    dimensions = [int(side) for side in header["dim"]]
    count = dimensions[0]
    if not 1 <= count <= 7:
        raise UnreadableSource(f"NIfTI header with {count} dimensions")
    if count < 3 or any(side != 1 for side in dimensions[4 : count + 1]):
        sides = " x ".join(map(str, dimensions[1 : count + 1]))
        raise UnreadableSource(f"NIfTI of {count} dimensions ({sides}); expected one volume of three, so split it")
    refuse_size((dimensions[1], dimensions[2], dimensions[3]))
    try:
        kind = header.get_data_dtype()
    except Exception as error:
        raise UnreadableSource(f"NIfTI with voxels of an unknown type ({type(error).__name__})") from None
    if kind.newbyteorder("=").name not in _TYPES:
        raise UnreadableSource(f"NIfTI with voxels of type {kind.name}; expected {', '.join(_TYPES)}")
    spacing = np.array(header["pixdim"][1:4], dtype=float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise UnreadableSource("NIfTI with a spacing that is zero, negative or not finite")
    offset = float(header["vox_offset"])
    smallest = int(header["sizeof_hdr"]) + 4
    if not (smallest <= offset <= _MAX_OFFSET and offset == int(offset)):
        raise UnreadableSource(f"NIfTI with voxels from byte {offset:g} on; expected {smallest} to {_MAX_OFFSET:,}")
    return int(offset), int(np.prod(dimensions[1:4])) * kind.itemsize


def stated_affine(header: Any) -> Float64[np.ndarray, "4 4"]:
    """Return the map to millimetres of the sform, else of the qform, as the standard recommends for scans.

    Raises:
        UnreadableSource: neither is stated, or the map is not usable.
    """
    unit = _MILLIMETRES.get(int(header["xyzt_units"]) & 7)
    if unit is None:
        raise UnreadableSource("NIfTI with an unknown unit of length; expected metres, millimetres or micrometres")
    try:
        form = header.get_sform() if int(header["sform_code"]) > 0 else None
        if form is None and int(header["qform_code"]) > 0:
            form = header.get_qform()
    except Exception as error:
        raise UnreadableSource(f"NIfTI with an orientation that cannot be computed ({type(error).__name__})") from None
    if form is None:
        raise UnreadableSource(
            "NIfTI without a stated orientation (qform and sform codes are 0), so that left and right are unknown; "
            "convert the scan again"
        )
    affine = np.array(form, dtype=np.float64)
    affine[:3] *= unit
    refuse_geometry(affine)
    return affine


def _scaling(header: Any) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 or NaN means that values are stored as they are."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise UnreadableSource("NIfTI with a scaling of voxels that is not finite")
    return slope, intercept


def _facts(header: Any, path: Path) -> dict[str, float | str]:
    slope, _ = _scaling(header)
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    facts: dict[str, float | str] = {
        "format": "nifti-gz" if path.suffix.lower() == ".gz" else "nifti",
        "stored": header.get_data_dtype().name,
        "scaled": "no" if slope == 1.0 else "yes",
        "orientation": "sform" if sform else "qform",
        "unit": "not stated" if not int(header["xyzt_units"]) & 7 else "stated",
    }
    if sform and qform:
        try:
            difference = float(np.abs(np.array(header.get_sform()) - np.array(header.get_qform())).max())
        except Exception:
            difference = np.inf
        # A quaternion that cannot be computed differs as well; facts are finite.
        facts["form_difference"] = min(difference, 1e6) if difference == difference else 1e6
    return facts
