import pytest
import torch

from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from polyclinic_audio import Audio


class TestAudio(ModalityConformance):
    def modality(self) -> Modality:
        return Audio(seconds=2.0, mels=24)


def test_padded_frames_change_no_study() -> None:
    audio = Audio(seconds=2.0, mels=24, patch=8)
    encoder = audio.default_encoder("nano").eval()
    real = {"mel": torch.randn(1, 100, 24), "frames": torch.tensor([40])}
    noisy = {**real, "mel": real["mel"].clone()}
    noisy["mel"][:, 40:] = 9.0
    assert encoder(real).padding.sum() == 8
    torch.testing.assert_close(encoder(real).pooled, encoder(noisy).pooled)


@pytest.mark.parametrize(
    ("wrong", "named"), [({"mels": 0}, "mels=0"), ({"mels": 400}, "`window`"), ({"spread": 0.0}, "spread")]
)
def test_wrong_settings_say_what_to_change(wrong: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Audio(**wrong)
