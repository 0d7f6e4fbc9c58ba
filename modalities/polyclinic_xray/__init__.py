"""X-ray: radiographs from DICOM, PNG and JPEG."""

from polyclinic_xray.plugin import XRay

__all__ = ["XRay"]
