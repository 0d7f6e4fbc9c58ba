"""Multimodal medical and scientific learning."""

__version__ = "0.2.0"
