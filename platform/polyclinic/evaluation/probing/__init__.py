"""Evaluation of pretrained encoders by linear probes, nearest neighbours and reconstruction errors."""
