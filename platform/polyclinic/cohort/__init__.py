"""Read, link and check cohorts of studies, and write phantom cohorts."""

from polyclinic.cohort.check import ModalityCheck, check_cohort, print_check
from polyclinic.cohort.cohort import SPLITS, Cohort, Study, adapt_modalities, read_cohort, readable_raws
from polyclinic.cohort.phantom import default_modalities, write_phantom_cohort
from polyclinic.cohort.schema import Target
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
