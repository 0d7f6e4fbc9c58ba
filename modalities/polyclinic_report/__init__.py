"""Report: free text of radiology and cardiology."""

from polyclinic_report.plugin import Report

__all__ = ["Report"]
