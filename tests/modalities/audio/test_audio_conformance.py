from pathlib import Path

import pytest
import torch

from polyclinic.data import CohortDataModule
from polyclinic.modality import Modality
from polyclinic.testing import ModalityConformance
from polyclinic_audio import Audio


class TestAudio(ModalityConformance):
    def modality(self) -> Modality:
        return Audio(seconds=2.0, mels=24)


def test_padded_frames_do_not_change_the_embedding() -> None:
    audio = Audio(seconds=2.0, mels=24, patch=8)
    encoder = audio.default_encoder("nano").eval()
    real = {"mel": torch.randn(1, 100, 24), "frames": torch.tensor([40])}
    noisy = {**real, "mel": real["mel"].clone()}
    noisy["mel"][:, 40:] = 9.0
    assert encoder(real).padding.sum() == 8
    torch.testing.assert_close(encoder(real).pooled, encoder(noisy).pooled)


@pytest.mark.parametrize(
    ("settings", "message"), [({"mels": 0}, "mels=0"), ({"mels": 400}, "`window`"), ({"spread": 0.0}, "spread")]
)
def test_invalid_settings_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Audio(**settings)


def test_cached_items_equal_freshly_prepared_ones(phantom_cohort: Path, tmp_path: Path) -> None:
    """Includes ``frames``, a number without dimensions."""
    batches = []
    for folder in (None, tmp_path):
        data = CohortDataModule(cohort=phantom_cohort, modalities={"audio": Audio()}, prepared=folder)
        data.setup("validate")
        batches.append(next(iter(data.val_dataloader())).inputs["audio"])
    assert batches[0].keys() == batches[1].keys()
    for name, value in batches[0].items():
        torch.testing.assert_close(batches[1][name], value, rtol=0, atol=0)
