from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from polyclinic_xray import XRay


class TestXRay(ModalityConformance):
    def modality(self) -> Modality:
        return XRay(size=32, patch=8)
