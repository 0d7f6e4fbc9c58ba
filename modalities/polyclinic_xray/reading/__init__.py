"""Readers of DICOM files and raster images, and the search for burned-in words."""
