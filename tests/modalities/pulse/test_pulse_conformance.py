"""The conformance suite also serves a third-party plugin."""

from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from pulse_plugin import Pulse


class TestPulse(ModalityConformance):
    def modality(self) -> Modality:
        return Pulse()
