"""X-ray plugin: radiographs from DICOM, PNG and JPEG files."""

from polyclinic_xray.plugin import XRay

__all__ = ["XRay"]
