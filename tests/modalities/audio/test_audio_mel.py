import numpy as np
import pytest
from scipy.signal import spectrogram
from transformers.audio_utils import mel_filter_bank

from polyclinic_audio.mel import hz_to_mel, log_mel, mel_filterbank, mel_to_hz


def test_the_mel_scale_passes_through_the_published_points() -> None:
    np.testing.assert_allclose(hz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0])), [0, 3, 15, 42])
    np.testing.assert_allclose(mel_to_hz(np.array([0.0, 3.0, 15.0, 42.0])), [0, 200, 1000, 6400])


@pytest.mark.parametrize(("mels", "fft", "rate"), [(64, 256, 4000), (40, 512, 16000)])
def test_the_filterbank_equals_that_of_transformers(mels: int, fft: int, rate: int) -> None:
    reference = mel_filter_bank(fft // 2 + 1, mels, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filterbank(mels=mels, fft=fft, rate=rate), reference.T, atol=1e-12)


def test_log_mel_equals_a_spectrogram_of_scipy() -> None:
    samples = np.random.default_rng(0).normal(size=1000)
    filters = mel_filterbank(mels=20, fft=256, rate=4000)
    settings = {"window": "hann", "nperseg": 160, "noverlap": 80, "nfft": 256, "detrend": False}
    _, _, spectrum = spectrogram(samples, scaling="spectrum", mode="complex", **settings)
    expected = 10 * np.log10(filters @ np.abs(spectrum) ** 2)
    levels = log_mel(samples, filters=filters, window=160, hop=80)
    assert levels.shape == (13, 20)
    np.testing.assert_allclose(levels[: expected.shape[1]], expected.T, atol=1e-9)


def test_levels_are_relative_to_full_scale_with_a_floor() -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(4000) / 4000)
    level = log_mel(tone, filters=np.ones((1, 129)), window=256, hop=128)[3, 0]
    # Parseval: a sine of amplitude 1 has 1/4 of full scale in one line, 3/8 over the three lines of a Hann taper
    assert level == pytest.approx(10 * np.log10(3 / 8), abs=1e-6)
    quiet_end = np.where(np.arange(4000) < 2000, tone, 0.0)
    assert log_mel(quiet_end, filters=np.ones((1, 129)), window=256, hop=128)[-1, 0] == pytest.approx(
        level - 80, abs=0.1
    )
