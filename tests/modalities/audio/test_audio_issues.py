"""Issues of a recording: each one planted and found, and none where there is none."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyclinic.modality.physiology import Patient
from polyclinic_audio import Audio

SECRET = "DOE^JOHN"


def sound(seconds: float, level: float = 0.5, rate: int = 4000) -> np.ndarray:
    return level * np.random.default_rng(0).uniform(-1, 1, round(seconds * rate))


def written(folder: Path, samples: np.ndarray, *, rate: int = 4000, **tags: str) -> Path:
    path = folder / "sound.flac"
    with soundfile.SoundFile(path, "w", rate, 1, format="FLAC") as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(samples)
    return path


def issues(path: Path) -> dict[str, tuple[str, str]]:
    """Severity and sentence by code; no sentence holds the planted name."""
    plugin = Audio()
    found = {one.code: (one.severity, one.message) for one in plugin.issues(path, plugin.read(path))}
    assert not any("DOE" in message or "JOHN" in message for _, message in found.values())
    return found


def test_phantoms_raise_no_issue(tmp_path: Path) -> None:
    plugin = Audio()
    rngs = [np.random.default_rng(seed) for seed in range(20)]
    paths = [plugin.phantom(Patient(rng).visit(rng), rng, tmp_path / f"S{place}") for place, rng in enumerate(rngs)]
    assert [issues(path) for path in paths] == [{}] * 20


@pytest.mark.parametrize(
    ("tags", "kinds"),
    [
        ({"comment": f"seen {SECRET}"}, "name"),
        ({"title": "MRN 4711", "artist": "DOB: 03.02.1950"}, "date of birth, record number"),
    ],
)
def test_tags_that_identify_are_reported_by_their_kind(tmp_path: Path, tags: dict[str, str], kinds: str) -> None:
    assert issues(written(tmp_path, sound(4), **tags)) == {
        "header-identifiers": ("warning", f"tags of the file seem to hold {kinds}")
    }


def test_other_tags_identify_nobody(tmp_path: Path) -> None:
    assert issues(written(tmp_path, sound(4), title="left lower lobe", software="recorder 3")) == {}


def test_clipping_silence_length_and_rate_are_reported(tmp_path: Path) -> None:
    clipped = sound(4)
    clipped[:100] = 1.0
    dead = sound(8)
    dead[: 6 * 4000] = 0.1
    for samples, rate, code, severity, message in [
        (clipped, 4000, "clipped", "warning", "0.6% of the samples are at full scale"),
        (sound(4, level=5e-4), 4000, "silent", "warning", "nothing is louder than -60 dB of full scale"),
        (dead, 4000, "silent", "warning", "75% of the recording is digital silence"),
        (sound(0.4), 4000, "very-short", "warning", "0.4 s is too short for a breath or a heartbeat"),
        (sound(81), 4000, "very-long", "note", "only the middle 8 s of 81 s is used"),
        (sound(4, rate=2000), 2000, "low-rate", "note", "2000 Hz is below the 4000 Hz of the plugin"),
    ]:
        found = issues(written(tmp_path, samples, rate=rate))
        assert list(found) == [code]
        assert found[code][0] == severity
        assert found[code][1].startswith(message)


@pytest.mark.parametrize(
    ("second", "expected"),
    [(-0.96, ["antiphase"]), (-0.5, []), (0.0, []), (1.0, [])],
)
def test_channels_in_antiphase_are_reported(tmp_path: Path, second: float, expected: list[str]) -> None:
    one = sound(4)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([one + 0.1, second * one - 0.1], axis=1), 4000)
    found = issues(path)
    assert list(found) == expected
    if expected:
        assert found["antiphase"][0] == "warning"
        assert found["antiphase"][1].startswith("channels cancel: their mean has 2% of their level")


def test_a_file_that_does_not_decode_is_reported_by_its_container(tmp_path: Path) -> None:
    for head, message in [(b"RIFF", "wav"), (b"fLaC", "flac"), (b"OggS", "ogg"), (b"\xff\xfb\x90\0", "mp3"), (b"", "")]:
        (tmp_path / "x").write_bytes(head)
        assert Audio().stored_as(tmp_path / "x") == message
    assert Audio().stored_as("inline") == ""
