"""Readers of documents: their encoding, markup and sections."""
