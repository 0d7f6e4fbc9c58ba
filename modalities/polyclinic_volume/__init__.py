"""Volume plugin: CT and MR series in DICOM, and NIfTI files."""

from polyclinic_volume.plugin import Volume

__all__ = ["Volume"]
