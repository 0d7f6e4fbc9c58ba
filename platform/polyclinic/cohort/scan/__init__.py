"""Propose a cohort from a folder of hospital files."""

from polyclinic.cohort.scan.scan import ScanResult, refuse_places, scan_folder

__all__ = ["ScanResult", "refuse_places", "scan_folder"]
