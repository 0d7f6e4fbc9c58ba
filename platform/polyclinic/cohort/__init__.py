"""Read, link and check cohorts of studies, and write phantom cohorts."""

from typing import TYPE_CHECKING

from polyclinic.cohort.check import ModalityCheck, check_cohort, print_check
from polyclinic.cohort.cohort import SPLITS, Cohort, Study, adapt_modalities, read_cohort, readable_raws
from polyclinic.cohort.phantom import default_modalities, write_phantom_cohort
from polyclinic.cohort.schema import Target
from polyclinic.system.lazy import import_when_used

if TYPE_CHECKING:
    from polyclinic.cohort.time_windows import Anchors, Events, Window, link, link_items

__all__ = [
    "SPLITS",
    "Anchors",
    "Cohort",
    "Events",
    "ModalityCheck",
    "Study",
    "Target",
    "Window",
    "adapt_modalities",
    "check_cohort",
    "default_modalities",
    "link",
    "link_items",
    "print_check",
    "read_cohort",
    "readable_raws",
    "write_phantom_cohort",
]

# Only commands that build a cohort load DuckDB.
__getattr__ = import_when_used(
    __name__, dict.fromkeys(("Anchors", "Events", "Window", "link", "link_items"), "time_windows")
)
