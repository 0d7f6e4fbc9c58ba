"""Issues of a recording: identifiers in tags, clipping, silence, antiphase, length and rate."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from polyclinic.modality import Issue, Source, identifying_fields
from polyclinic_audio.recording import Recording

_MAX_CLIPPED_SHARE = 0.001
_MIN_PEAK = 1e-3
_MAX_DEAD_SHARE = 0.5
_MIN_MONO_SHARE = 0.4
"""Share of the level that uncorrelated channels keep when averaged; below it they are in antiphase."""

_MIN_SECONDS = 1.0
_MAX_LENGTH_RATIO = 10


def recording_issues(source: Source, raw: Recording, *, rate: int, seconds: float) -> Iterator[Issue]:
    """Yield the issues of a recording.

    Args:
        source: source of the recording.
        raw: decoded recording.
        rate: rate in Hz to which the plugin resamples.
        seconds: length that the plugin uses.
    """
    if isinstance(source, Path) and (kinds := identifying_fields(_tags(source))):
        yield Issue(
            severity="warning", code="header-identifiers", message=f"tags of the file seem to hold {', '.join(kinds)}"
        )
    yield from _level(raw)
    length = len(raw.samples) / raw.rate
    if length < _MIN_SECONDS:
        yield Issue(
            severity="warning", code="very-short", message=f"{length:.2g} s is too short for a breath or a heartbeat"
        )
    if length > _MAX_LENGTH_RATIO * seconds:
        yield Issue(
            severity="note",
            code="very-long",
            message=f"only the middle {seconds:g} s of {length:.0f} s is used; raise `seconds` or cut the recording",
        )
    if raw.rate < rate:
        yield Issue(
            severity="note",
            code="low-rate",
            message=f"{raw.rate} Hz is below the {rate} Hz of the plugin, so the highest bands stay empty",
        )


def encoding_of(source: Source) -> str:
    """Return the container of a sound file by its first bytes, or an empty string."""
    if not isinstance(source, Path):
        return ""
    with source.open("rb") as stream:
        head = stream.read(4)
    containers = {b"RIFF": "wav", b"RF64": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3\x03": "mp3", b"ID3\x04": "mp3"}
    return containers.get(head, "mp3" if head[:1] == b"\xff" else "")


def _tags(path: Path) -> str:
    with soundfile.SoundFile(path) as file:
        return "\n".join(f"{key}: {value}" for key, value in file.copy_metadata().items())


def _level(raw: Recording) -> Iterator[Issue]:
    if (share := float(raw.facts.get("clipping", 0.0))) > _MAX_CLIPPED_SHARE:
        yield Issue(severity="warning", code="clipped", message=f"{share:.1%} of the samples are at full scale")
    level, uncorrelated = float(raw.facts.get("mono_level", 1.0)), float(raw.facts.get("channels", 1.0)) ** -0.5
    if level < _MIN_MONO_SHARE * uncorrelated:
        yield Issue(
            severity="warning",
            code="antiphase",
            message=f"channels cancel: their mean has {level:.0%} of their level; was one of them recorded inverted?",
        )
    if np.abs(raw.samples).max() < _MIN_PEAK:
        yield Issue(severity="warning", code="silent", message="nothing is louder than -60 dB of full scale")
    elif (dead := _dead_share(raw)) > _MAX_DEAD_SHARE:
        message = f"{dead:.0%} of the recording is digital silence"
        yield Issue(severity="warning", code="silent", message=message)


def _dead_share(raw: Recording) -> float:
    """Return the share of tenths of a second in which all samples are equal."""
    size = max(2, raw.rate // 10)
    length = len(raw.samples) // size * size
    if not length:
        return 0.0
    pieces = raw.samples[:length].reshape(-1, size)
    return float((np.ptp(pieces, axis=1) == 0).mean())
