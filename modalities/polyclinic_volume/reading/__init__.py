"""Readers of DICOM series and NIfTI files."""
