"""Readers of report files: encoding, markup and sections."""
