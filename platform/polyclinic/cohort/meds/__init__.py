"""Datasets of the Medical Event Data Standard (MEDS), version 0.4: events of a subject over time, in Parquet."""

from typing import TYPE_CHECKING

from polyclinic.system.lazy import import_when_used

if TYPE_CHECKING:
    from polyclinic.cohort.meds.export import Exported, write_cohort_events
    from polyclinic.cohort.meds.read import MedsDataset
    from polyclinic.cohort.meds.write import write_meds

__all__ = ["Exported", "MedsDataset", "write_cohort_events", "write_meds"]

# The library `meds` is in the extra `wards`: only what reads or writes a dataset imports it.
__getattr__ = import_when_used(
    __name__,
    {"Exported": "export", "MedsDataset": "read", "write_cohort_events": "export", "write_meds": "write"},
)
