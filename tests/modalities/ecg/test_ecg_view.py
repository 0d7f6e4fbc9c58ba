import numpy as np
import pytest
import torch

from polyclinic_ecg import ECG
from polyclinic_ecg.recording import LEADS, Electrocardiogram


def recording(seconds: float, rate: float, spike: float = 0.0) -> Electrocardiogram:
    """Make leads with different offsets and one spike."""
    rng = np.random.default_rng(0)
    signal = rng.normal(0, 0.01, (12, round(seconds * rate))).astype(np.float32)
    signal += np.arange(12, dtype=np.float32)[:, None] * 7
    signal[:, round(spike * rate)] += 3
    return Electrocardiogram(signal, rate, {})


@pytest.mark.parametrize("rate", [250.0, 1000.0])
@pytest.mark.parametrize("window", [4.0, 10.0, 20.0])
@pytest.mark.parametrize(("seconds", "spike"), [(6.0, 3.3), (10.0, 6.3), (31.3, 16.2)])
def test_relevance_is_placed_over_the_signal_of_the_token(
    seconds: float, spike: float, window: float, rate: float
) -> None:
    plugin, raw = ECG(seconds=window, patch=20), recording(seconds, rate, spike)
    item, view = plugin.prepare(raw), plugin.view(raw)
    token = int(item["signal"][0].abs().argmax()) // plugin.patch
    tokens = round(window * plugin.rate) // plugin.patch
    located = plugin.locate(raw, item, torch.zeros(tokens).index_fill(0, torch.tensor(token), 2.0))
    assert located.strength.shape == (1, tokens)
    begin, end = located.seconds
    middle = begin + (int(located.strength.argmax()) + 0.5) * (end - begin) / tokens
    spike_at = int(np.abs(view.values[0]).argmax()) / view.rate
    assert abs(middle - spike_at) <= 0.5 * plugin.patch / plugin.rate + 0.02
    assert end - begin == pytest.approx(window)


def test_ten_seconds_are_shown_at_the_rate_of_the_record_around_the_median() -> None:
    view = ECG().view(recording(30.0, 360.0))
    assert view.values.shape == (12, 3600)
    assert (view.names, view.unit, view.rate, view.paper) == (LEADS, "mV", 360.0, (0.2, 0.5))
    np.testing.assert_allclose(np.median(view.values, axis=1), 0, atol=1e-6)
    assert view.caption == "10 of 30.0 s, from 10.0 s on, 360 samples per second, each lead about its median"


def test_a_fast_record_is_averaged_over_neighbouring_samples() -> None:
    raw = recording(3.0, 1000.0)
    view = ECG().view(raw)
    assert (view.rate, view.values.shape) == (500.0, (12, 1500))
    lead = raw.signal[4].astype(np.float64)
    np.testing.assert_allclose(view.values[4], (lead[::2] + lead[1::2]) / 2 - np.median(lead), atol=1e-9)
    assert view.caption == "3.0 s, 1000 samples per second, each lead about its median"


def test_gaps_stay_blank() -> None:
    raw = recording(2.0, 100.0)
    raw.signal[3] = np.nan
    raw.signal[5, 10:20] = np.nan
    report = ECG(seconds=2, shift=0.5).view(raw).as_json()["values"]
    assert set(report[3]) == {None}
    assert [index for index, value in enumerate(report[5]) if value is None] == list(range(10, 20))


def test_each_lead_has_separate_relevance_where_it_has_separate_tokens() -> None:
    plugin, raw = ECG(stem="lead", seconds=2, patch=50, shift=0.5), recording(2.0, 100.0)
    relevance = torch.zeros(48).index_fill(0, torch.tensor(4 * 5 + 2), 1.0)
    located = plugin.locate(raw, plugin.prepare(raw), relevance)
    assert located.strength.shape == (12, 4)
    assert np.argwhere(located.strength > 0).tolist() == [[5, 2]]


def test_relevance_without_tokens_is_refused() -> None:
    raw = recording(2.0, 100.0)
    plugin = ECG(seconds=2, shift=0.5)
    with pytest.raises(ValueError, match="0 tokens, expected a multiple of 1"):
        plugin.locate(raw, plugin.prepare(raw), torch.zeros(0))
