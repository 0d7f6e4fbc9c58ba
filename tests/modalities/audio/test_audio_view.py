import numpy as np
import pytest
import torch

from polyclinic_audio import Audio
from polyclinic_audio.recording import Recording


def tone(seconds: float, rate: int, hertz: float, at: float = 0.0) -> Recording:
    """Make faint noise with a tone of 0.2 s."""
    time = np.arange(round(seconds * rate)) / rate
    samples = np.random.default_rng(0).normal(0, 1e-5, len(time))
    sounding = (time >= at) & (time < at + 0.2)
    samples[sounding] += 0.5 * np.sin(2 * np.pi * hertz * time[sounding])
    return Recording(samples.astype(np.float32), rate, {})


@pytest.mark.parametrize(("seconds", "at"), [(3.0, 1.5), (8.0, 6.0), (20.0, 11.0)])
def test_relevance_is_placed_over_the_sound_of_the_token(seconds: float, at: float) -> None:
    plugin, raw = Audio(), tone(seconds, 8000, 700, at)
    item, view = plugin.prepare(raw), plugin.view(raw)
    frame = int(item["mel"].sum(dim=1)[: int(item["frames"])].argmax())
    tokens = -(-400 // plugin.patch)
    located = plugin.locate(raw, item, torch.zeros(tokens).index_fill(0, torch.tensor(frame // plugin.patch), 1.0))
    begin, end = located.across
    middle = begin + (int(located.strength.argmax()) + 0.5) * (end - begin) / tokens
    brightest = (view.grey.astype(float).sum(axis=0).argmax() + 0.5) / view.grey.shape[1]
    assert abs(middle - brightest) <= 1.5 * (end - begin) / tokens
    assert end >= 1


@pytest.mark.parametrize("hertz", [200.0, 500.0, 1000.0])
def test_a_tone_is_drawn_at_its_tick(hertz: float) -> None:
    view = Audio().view(tone(2.0, 4000, hertz, 1.0))
    assert view.up is not None
    place = next(place for place, number in view.up.ticks if number == hertz)
    row = int(view.grey.max(axis=1).argmax())
    assert abs((view.grey.shape[0] - row - 0.5) / view.grey.shape[0] - place) < 1 / view.grey.shape[0]


def test_ticks_are_seconds_of_the_recording() -> None:
    view = Audio(seconds=4.0).view(tone(10.0, 4000, 500, 5.0))
    assert view.across is not None
    assert [number for _, number in view.across.ticks] == [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]
    np.testing.assert_allclose([place for place, _ in view.across.ticks], np.linspace(0, 1, 9))
    assert view.grey.shape == (64, 200)
    assert view.caption == (
        "mel spectrogram of 4 of 10.0 s, from 3.0 s on, 4000 samples per second; white is loudest, black 80 dB below"
    )


def test_a_long_window_fits_the_screen() -> None:
    assert Audio(seconds=60.0).view(tone(60.0, 4000, 500)).grey.shape == (64, 1024)


def test_another_number_of_tokens_is_refused() -> None:
    plugin, raw = Audio(), tone(2.0, 4000, 500)
    with pytest.raises(ValueError, match="relevance of 49 tokens, expected 50"):
        plugin.locate(raw, plugin.prepare(raw), torch.zeros(49))
