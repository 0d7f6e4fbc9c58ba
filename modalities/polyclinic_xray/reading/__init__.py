"""Readers of DICOM files and raster images, and of the words burned into them."""
