import numpy as np
import pytest
import torch

from polyclinic.modality import Item, Physiology
from polyclinic.modality.physiology import Patient
from polyclinic_ecg import ECG, ResNet1dEncoder
from polyclinic_ecg.heart import draw_heart
from polyclinic_ecg.recording import Electrocardiogram


def recording(signal: np.ndarray, rate: float) -> Electrocardiogram:
    return Electrocardiogram(signal.astype(np.float32), rate, {})


def sine(rate: float, seconds: float, frequency: float = 5.0) -> np.ndarray:
    return np.tile(np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate), (12, 1))


def items(count: int) -> list[Item]:
    raws = [recording(draw_heart(physiology(seed), np.random.default_rng(seed)), 500) for seed in range(count)]
    return [ECG().prepare(raw) for raw in raws]


def physiology(seed: int) -> Physiology:
    rng = np.random.default_rng(seed)
    return Patient(rng).visit(rng)


@pytest.mark.parametrize("rate", [1000.0, 500.0, 360.0, 257.0, 100.0, 62.5])
def test_a_sine_keeps_its_frequency_phase_and_voltage(rate: float) -> None:
    signal = ECG(highpass=0).prepare(recording(sine(rate, 10), rate))["signal"].numpy()
    np.testing.assert_allclose(signal[:, 20:-20], sine(100, 10)[:, 20:-20], atol=0.02)


def test_highpass_removes_drift_and_keeps_the_beat() -> None:
    time = np.arange(5000) / 500
    drift = 3.0 + 0.8 * np.sin(2 * np.pi * 0.1 * time)
    signal = ECG().prepare(recording(sine(500, 10) + drift, 500))["signal"].numpy()
    np.testing.assert_allclose(signal[:, 100:-100], sine(100, 10)[:, 100:-100], atol=0.08)


def test_the_middle_of_a_long_record_is_used() -> None:
    signal = np.zeros((12, 30 * 100))
    signal[:, 1500] = 1.0
    assert int(ECG(highpass=0).prepare(recording(signal, 100))["signal"][0].argmax()) == 500


def test_gaps_do_not_spread_and_are_masked() -> None:
    signal = sine(500, 10)
    signal[4, 1000:1500] = np.nan
    signal[7] = np.nan
    item = ECG(highpass=0).prepare(recording(signal, 500))
    mask = item["sample_mask"].numpy()
    assert item["lead_mask"].tolist() == [lead != 7 for lead in range(12)]
    assert not mask[4, 200:300].any()
    assert mask[4].sum() == pytest.approx(900, abs=3)
    assert mask[[0, 11]].all()
    assert (item["signal"].numpy()[~mask] == 0).all()
    np.testing.assert_allclose(item["signal"][4, 20:190], sine(100, 10)[4, 20:190], atol=0.02)


def test_the_padding_of_short_records_does_not_change_the_embedding() -> None:
    modality = ECG()
    item = modality.prepare(recording(sine(500, 4), 500))
    assert item["sample_mask"].sum(dim=1).tolist() == [400] * 12
    encoder = modality.default_encoder("nano").eval()
    inputs = modality.collate([item])
    assert encoder(inputs).padding.sum() == 30
    touched = {**inputs, "signal": inputs["signal"] + 9.0 * ~inputs["sample_mask"]}
    torch.testing.assert_close(encoder(touched).pooled, encoder(inputs).pooled)


def test_augmentation_never_drops_every_lead_nor_reads_outside_the_window() -> None:
    item = items(1)[0]
    for seed in range(20):
        varied = ECG(drop=0.97, shift=2.0).augment(item, np.random.default_rng(seed))
        assert varied["lead_mask"].any()
        assert (varied["signal"][~varied["sample_mask"]] == 0).all()
    plain = ECG(gain=0, wander=0, noise=0, drop=0, shift=2.0).augment(item, np.random.default_rng(3))
    columns = plain["sample_mask"].all(dim=0)
    assert 800 <= columns.sum() < 1000
    start = 1000 - int(columns.sum())
    later = bool(columns[-1])
    expected = item["signal"][:, : 1000 - start] if later else item["signal"][:, start:]
    torch.testing.assert_close(plain["signal"][:, columns], expected)


def test_the_electrical_axis_changes_leads_i_and_avf() -> None:
    for seed in range(8):
        values = physiology(seed).__dict__
        for axis in (1, -1):
            turned = Physiology(**{**values, "electrical_axis": axis})
            raw = recording(draw_heart(turned, np.random.default_rng(seed)), 500)
            signal = ECG().prepare(raw)["signal"].numpy()
            largest = signal[:6, np.abs(signal[:6]).sum(axis=0).argsort()[-20:]].mean(axis=1)
            assert np.sign(largest[0]) == axis
            assert largest[0] > largest[5] if axis == 1 else largest[5] > 0


def test_resnet_tokens_do_not_depend_on_the_rest_of_the_batch() -> None:
    encoder = ResNet1dEncoder(stages=(1, 1, 1), width=8)
    batch = items(3)
    batch[1] = ECG().prepare(recording(sine(500, 3), 500))
    inputs = ECG().collate(batch)
    together = encoder(inputs)
    assert together.pooled.shape == (3, encoder.width) == (3, 32)
    assert together.tokens.shape[:2] == together.padding.shape
    assert 0.6 < together.padding[1].float().mean() < 0.75
    for index, item in enumerate(batch):
        torch.testing.assert_close(
            encoder(ECG().collate([item])).pooled[0], together.pooled[index], atol=1e-5, rtol=1e-4
        )
    together.pooled.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="patch"):
        ECG(patch=30)
    with pytest.raises(ValueError, match="highpass"):
        ECG(highpass=60)
    with pytest.raises(ValueError, match="shift"):
        ECG(shift=10)
    with pytest.raises(ValueError, match="stages"):
        ResNet1dEncoder(stages=())
    with pytest.raises(ValueError, match="width"):
        ResNet1dEncoder(width=12)
