"""Propose a cohort from a folder of hospital files."""

from polyclinic.cohort.scan.scan import ScanResult, scan_folder

__all__ = ["ScanResult", "scan_folder"]
