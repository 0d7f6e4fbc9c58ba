"""Read the results and reports of wards: FHIR R4, HL7 v2 and, through plugins, further formats."""

from typing import TYPE_CHECKING

from polyclinic.system.lazy import import_when_used

if TYPE_CHECKING:
    from polyclinic.cohort.ward.ward import WardResult, read_ward

__all__ = ["WardResult", "read_ward"]

# The libraries `fhir.resources` and `hl7apy` are in the extra `wards`.
__getattr__ = import_when_used(__name__, {"WardResult": "ward", "read_ward": "ward"})
