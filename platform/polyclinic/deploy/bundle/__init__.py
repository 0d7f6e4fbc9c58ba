"""A zero-shot classifier or a trained head as a folder: weights, one JSON, a model card, licences and checksums."""

from polyclinic.deploy.bundle.files import check_files, write_files
from polyclinic.deploy.bundle.format import BundleContent, Origin, subset_key
from polyclinic.deploy.bundle.head import Head, Label, MeasuredError
from polyclinic.deploy.bundle.load import Bundle, load_bundle
from polyclinic.deploy.bundle.rules import DecisionRule, EstimateRule

__all__ = [
    "Bundle",
    "BundleContent",
    "DecisionRule",
    "EstimateRule",
    "Head",
    "Label",
    "MeasuredError",
    "Origin",
    "check_files",
    "load_bundle",
    "subset_key",
    "write_files",
]
