from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from polyclinic_volume import Volume


class TestVolume(ModalityConformance):
    def modality(self) -> Modality:
        return Volume(kind="ct", size=(24, 24, 16), spacing=(15.0, 13.0, 18.0), patch=8, normalised_targets=False)
