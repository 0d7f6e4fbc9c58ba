"""Issues of a recording: each planted one is found, and a clean recording has none."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyclinic.modality.physiology import Patient
from polyclinic_audio import Audio

SECRET = "DOE^JOHN"


def sound(seconds: float, level: float = 0.5, rate: int = 4000) -> np.ndarray:
    return level * np.random.default_rng(0).uniform(-1, 1, round(seconds * rate))


def write_sound(folder: Path, samples: np.ndarray, *, rate: int = 4000, **tags: str) -> Path:
    path = folder / "sound.flac"
    with soundfile.SoundFile(path, "w", rate, 1, format="FLAC") as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(samples)
    return path


def issues(path: Path) -> dict[str, tuple[str, str]]:
    """Return severity and message by code; no message holds the planted name."""
    plugin = Audio()
    issues_by_code = {issue.code: (issue.severity, issue.message) for issue in plugin.issues(path, plugin.read(path))}
    assert not any("DOE" in message or "JOHN" in message for _, message in issues_by_code.values())
    return issues_by_code


def test_phantoms_have_no_issues(tmp_path: Path) -> None:
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
def test_identifying_tags_are_reported_by_kind(tmp_path: Path, tags: dict[str, str], kinds: str) -> None:
    assert issues(write_sound(tmp_path, sound(4), **tags)) == {
        "header-identifiers": ("warning", f"tags of the file seem to hold {kinds}")
    }


def test_harmless_tags_are_not_reported(tmp_path: Path) -> None:
    assert issues(write_sound(tmp_path, sound(4), title="left lower lobe", software="recorder 3")) == {}


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
        issues_found = issues(write_sound(tmp_path, samples, rate=rate))
        assert list(issues_found) == [code]
        assert issues_found[code][0] == severity
        assert issues_found[code][1].startswith(message)


@pytest.mark.parametrize(
    ("second", "expected"),
    [(-0.96, ["antiphase"]), (-0.5, []), (0.0, []), (1.0, [])],
)
def test_channels_in_antiphase_are_reported(tmp_path: Path, second: float, expected: list[str]) -> None:
    samples = sound(4)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([samples + 0.1, second * samples - 0.1], axis=1), 4000)
    issues_found = issues(path)
    assert list(issues_found) == expected
    if expected:
        assert issues_found["antiphase"][0] == "warning"
        assert issues_found["antiphase"][1].startswith("channels cancel: their mean has 2% of their level")


def test_stored_as_names_the_container_even_of_a_broken_file(tmp_path: Path) -> None:
    for head, message in [(b"RIFF", "wav"), (b"fLaC", "flac"), (b"OggS", "ogg"), (b"\xff\xfb\x90\0", "mp3"), (b"", "")]:
        (tmp_path / "x").write_bytes(head)
        assert Audio().stored_as(tmp_path / "x") == message
    assert Audio().stored_as("inline") == ""
