"""Finding and replacing what identifies a patient in texts, dates and DICOM elements."""
