"""Readers of DICOM waveforms and WFDB records."""
