"""A rate and length that are not set are those of the training recordings; given and old ones stay."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from polyclinic.cohort import read_cohort
from polyclinic.cohort.cohort import adapt_modalities
from polyclinic.modality import settings
from polyclinic_audio import Audio
from polyclinic_audio import plugin as plugin_module


def _recordings(folder: Path, *kinds: tuple[int, float]) -> list[Path]:
    """Write a recording for each rate in Hz and length in seconds."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{place}.wav" for place in range(len(kinds))]
    for path, (rate, seconds) in zip(paths, kinds, strict=True):
        soundfile.write(path, rng.uniform(-0.5, 0.5, round(rate * seconds)).astype(np.float32), rate)
    return paths


@pytest.mark.parametrize(
    ("kinds", "rate", "seconds"),
    [
        (((8000, 3.0), (8000, 5.2), (44_100, 30.0)), 8000, 5.0),
        (((44_100, 30.0), (44_100, 25.0), (4000, 20.0)), 16_000, 10.0),
        (((1000, 0.3), (1000, 0.4)), 2000, 1.0),
    ],
)
def test_the_rate_and_the_length_of_most_recordings_are_taken(
    tmp_path: Path, kinds: tuple[tuple[int, float], ...], rate: int, seconds: float
) -> None:
    paths = _recordings(tmp_path, *kinds)
    audio = Audio()
    assert audio.adapt(paths) == {}
    assert audio.adapted() == {"rate": f"{rate} Hz", "seconds": f"{seconds:g} s"}
    explicit, item = Audio(rate=rate, seconds=seconds), audio.prepare(audio.read(paths[0]))
    assert settings(audio) == settings(explicit)
    torch.testing.assert_close(item, explicit.prepare(explicit.read(paths[0])), rtol=0, atol=0)
    assert audio.default_encoder("pico")(audio.collate([item])).pooled.isfinite().all()


def test_settings_that_are_given_are_kept(tmp_path: Path) -> None:
    paths = _recordings(tmp_path, (8000, 3.0))
    audio = Audio(rate=6000, seconds=2.5)
    assert audio.adapt(paths) == audio.adapted() == audio.state() == {}
    audio.load_state({"rate": 8000, "seconds": 3.0})
    assert (audio.rate, audio.seconds) == (6000, 2.5)
    audio = Audio(rate=6000)
    audio.adapt(paths)
    assert (audio.rate, audio.seconds, audio.state()) == (6000, 3.0, {"seconds": 3.0})


def test_the_state_restores_the_same_items(tmp_path: Path) -> None:
    paths = _recordings(tmp_path, (8000, 3.0), (8000, 3.0))
    audio, restored = Audio(), Audio()
    audio.adapt(paths)
    restored.load_state(json.loads(json.dumps(audio.state())))
    assert restored.state() == {"rate": 8000, "seconds": 3.0}
    first, second = (plugin.prepare(plugin.read(paths[0])) for plugin in (audio, restored))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_empty_state_of_an_old_checkpoint_is_4000_hz_and_8_seconds(tmp_path: Path) -> None:
    paths = _recordings(tmp_path, (8000, 3.0))
    audio, old = Audio(), Audio(rate=4000, seconds=8.0)
    audio.adapt(paths)
    audio.load_state({})
    assert settings(audio) == settings(old) == settings(Audio())
    torch.testing.assert_close(audio.prepare(audio.read(paths[0])), old.prepare(old.read(paths[0])), rtol=0, atol=0)


@pytest.mark.parametrize("state", [{"rate": 10**9}, {"rate": "8000"}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_a_state_out_of_range_is_refused(state: dict[str, object]) -> None:
    (name,) = state
    with pytest.raises(ValueError, match=rf"got a state with {name} .*, expected [\d.]+ to [\d.]+; set `{name}`"):
        Audio().load_state(state)


def test_broken_and_inline_sources_are_skipped_and_few_headers_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = _recordings(tmp_path, *[(8000, 1.0)] * 3)
    paths[0].write_bytes(b"no sound")
    audio = Audio()
    audio.adapt([tmp_path / "missing.wav", "inline", *paths])
    assert audio.rate == 8000
    assert Audio().adapt(["inline", paths[0]]) == {}
    read = []
    monkeypatch.setattr(plugin_module, "read_header", lambda path: read.append(path) or (5000, 2.0))
    audio.adapt([tmp_path / f"{place}.wav" for place in range(1001)])
    assert (len(read), read[0].stem, read[-1].stem, audio.rate) == (167, "0", "996", 5000)


def test_a_phantom_cohort_has_the_items_of_the_defaults(phantom_cohort: Path) -> None:
    audio, cohort = Audio(), read_cohort(phantom_cohort)
    messages = adapt_modalities(cohort, {"audio": audio})
    assert messages == ["audio takes `rate` from the cohort: 4000 Hz", "audio takes `seconds` from the cohort: 8 s"]
    assert settings(audio) == settings(Audio())
