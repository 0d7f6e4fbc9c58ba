"""Matching of files across modalities: retrieval of counterparts and record linkage."""
