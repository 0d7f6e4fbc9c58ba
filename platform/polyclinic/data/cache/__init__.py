"""The cache of prepared items, in memory-mapped shards."""

from polyclinic.data.cache.items import PreparedModality, prepare_modality

__all__ = ["PreparedModality", "prepare_modality"]
