from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from polyclinic_ecg import ECG


class TestECG(ModalityConformance):
    def modality(self) -> Modality:
        return ECG(rate=50, seconds=4, patch=20, shift=0.5)
