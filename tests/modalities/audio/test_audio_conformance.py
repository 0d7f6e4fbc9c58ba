from pathlib import Path

import pytest
import torch

from polyclinic.data import CohortDataModule
from polyclinic.deploy.bundle.load import build_modality
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
    ("settings", "message"),
    [
        ({"mels": 0}, "mels=0"),
        ({"mels": 400}, "`frame`"),
        ({"frame": (40.0, 0.0)}, "frame=0"),
        ({"fixed_level": (-75.0, 0.0)}, "fixed_level=0"),
    ],
)
def test_invalid_settings_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Audio(**settings)


def test_settings_of_an_earlier_bundle_are_read_under_their_present_names() -> None:
    earlier = {
        "rate": 4000, "seconds": 2.0, "mels": 24, "window": 50.0, "hop": 25.0, "normalisation": "fixed",
        "centre": -60.0, "spread": 10.0, "time_mask": 0.3, "band_mask": 0.2, "noise": 0.0,
    }  # fmt: skip
    audio = build_modality("audio", {"plugin": "audio", "settings": earlier, "state": {}})
    assert isinstance(audio, Audio)
    assert (audio.frame, audio.fixed_level, audio.masks) == ((50.0, 25.0), (-60.0, 10.0), (0.3, 0.2))
    by_recording = build_modality("audio", {"plugin": "audio", "settings": {"band_mask": 0.2}, "state": {}})
    assert isinstance(by_recording, Audio)
    assert (by_recording.fixed_level, by_recording.masks, by_recording.frame) == (None, (0.1, 0.2), (40.0, 20.0))
    with pytest.raises(ValueError, match="it has no setting 'window'"):
        build_modality("audio", {"plugin": "audio", "settings": {"window": 50.0, "frame": [40.0, 20.0]}, "state": {}})


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
