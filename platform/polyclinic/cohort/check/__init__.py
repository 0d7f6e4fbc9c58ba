"""Check every source and label of a cohort before training."""

from polyclinic.cohort.check.inspect import ModalityCheck, check_cohort
from polyclinic.cohort.check.labels import LabelCheck, check_labels
from polyclinic.cohort.check.report import all_checks, check_as_json, print_check, worst_of, worst_sentence

__all__ = [
    "LabelCheck",
    "ModalityCheck",
    "all_checks",
    "check_as_json",
    "check_cohort",
    "check_labels",
    "print_check",
    "worst_of",
    "worst_sentence",
]
