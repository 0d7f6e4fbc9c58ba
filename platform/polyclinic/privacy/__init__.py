"""Find and replace identifiers of patients in texts, dates and DICOM elements."""
