"""What a plugin author needs to test a plugin."""

from polyclinic.testing.conformance import ModalityConformance

__all__ = ["ModalityConformance"]
