"""Tests that plugin authors run against their plugins."""

from polyclinic.testing.conformance import ModalityConformance

__all__ = ["ModalityConformance"]
