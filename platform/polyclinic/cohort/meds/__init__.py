"""Datasets of the Medical Event Data Standard (MEDS), version 0.4: events of a subject over time, in Parquet."""

from typing import TYPE_CHECKING

from polyclinic.system.lazy import import_when_used

if TYPE_CHECKING:
    from polyclinic.cohort.meds.read import MedsDataset
    from polyclinic.cohort.meds.write import write_meds

__all__ = ["MedsDataset", "write_meds"]

# The library `meds` is in the extra `wards`: only what reads or writes a dataset imports it.
__getattr__ = import_when_used(__name__, {"MedsDataset": "read", "write_meds": "write"})
