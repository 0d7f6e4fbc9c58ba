"""Multimodal medical and scientific learning."""

__version__ = "0.1.0"
