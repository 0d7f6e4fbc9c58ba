"""The JSON file beside a NIfTI file that states its modality, as converters of DICOM write it.

The key ``Modality`` has the value of the DICOM element (Brain Imaging Data Structure 1.10, "Sidecar JSON").
"""

import json
from pathlib import Path

from polyclinic.modality import UnreadableSource
from polyclinic_volume.reading.slices import MODALITIES
from polyclinic_volume.voxels import Kind

_MAX_BYTES = 2**20


def sidecar_of(path: Path) -> Path:
    """Return the path of the JSON file that belongs to a NIfTI file, which need not exist."""
    stem = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    return path.with_name(stem).with_suffix(".json")


def stated_kind(path: Path) -> Kind | None:
    """Return the kind that the file beside a NIfTI file states; None without such a file, or where it states none.

    Raises:
        UnreadableSource: the file is not JSON, or states another modality than CT and MR.
    """
    sidecar = sidecar_of(path)
    try:
        if not sidecar.is_file():
            return None
        if sidecar.stat().st_size > _MAX_BYTES:
            raise UnreadableSource(f"JSON file beside the NIfTI file with more than {_MAX_BYTES:,} bytes")
        content = json.loads(sidecar.read_bytes())
    except UnreadableSource:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableSource(f"JSON file beside the NIfTI file cannot be read ({type(error).__name__})") from None
    modality = content.get("Modality") if isinstance(content, dict) else None
    if modality is None:
        return None
    if modality not in ("CT", "MR"):
        raise UnreadableSource("NIfTI of another modality than CT and MR, as the JSON file beside it states")
    return "ct" if MODALITIES[modality] == "ct" else "mr"


def write_sidecar(path: Path, kind: Kind) -> None:
    """Write the file that states the kind of a NIfTI file."""
    sidecar_of(path).write_text(json.dumps({"Modality": kind.upper()}), encoding="ascii")
