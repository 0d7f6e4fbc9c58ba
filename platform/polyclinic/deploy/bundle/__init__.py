"""A zero-shot classifier as a folder: weights, one JSON, a model card, licences and checksums."""

from polyclinic.deploy.bundle.content import Content, Origin, spoken_key
from polyclinic.deploy.bundle.folder import check_files, write_files
from polyclinic.deploy.bundle.load import Bundle, load_bundle
from polyclinic.deploy.bundle.rules import Rule

__all__ = ["Bundle", "Content", "Origin", "Rule", "check_files", "load_bundle", "spoken_key", "write_files"]
