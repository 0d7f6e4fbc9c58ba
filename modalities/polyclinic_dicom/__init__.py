"""DICOM code that several plugins share; not a plugin."""
