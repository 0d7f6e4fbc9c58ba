"""The conformance suite serves a plugin that this project has never heard of."""

from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from pulse_plugin import Pulse


class TestPulse(ModalityConformance):
    def modality(self) -> Modality:
        return Pulse()
