"""Prepared items, kept in memory-mapped shards."""

from polyclinic.data.prepared.items import PreparedModality, prepare_modality

__all__ = ["PreparedModality", "prepare_modality"]
