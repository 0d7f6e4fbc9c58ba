"""Report plugin: free text of radiology and cardiology."""

from polyclinic_report.ngrams import NgramEncoder
from polyclinic_report.plugin import Report

__all__ = ["NgramEncoder", "Report"]
