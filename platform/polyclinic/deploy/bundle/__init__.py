"""A zero-shot classifier as a folder: weights, one JSON, a model card, licences and checksums."""

from polyclinic.deploy.bundle.files import check_files, write_files
from polyclinic.deploy.bundle.format import BundleContent, DecisionRule, Origin, subset_key
from polyclinic.deploy.bundle.load import Bundle, load_bundle

__all__ = [
    "Bundle",
    "BundleContent",
    "DecisionRule",
    "Origin",
    "check_files",
    "load_bundle",
    "subset_key",
    "write_files",
]
