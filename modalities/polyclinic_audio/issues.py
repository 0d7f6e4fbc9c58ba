"""What a person should know of a recording: names in its tags, clipping, silence, length and rate."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from polyclinic.modality import Issue, Source, identifying_fields
from polyclinic_audio.recording import Recording

_CLIPPED = 0.001
_SILENT = 1e-3
_DEAD_SHARE = 0.5
_CANCELLED = 0.4
"""Of the level that uncorrelated channels keep when they are averaged; below, they are in antiphase."""

_SHORTEST = 1.0
_LONG = 10


def recording_issues(source: Source, raw: Recording, *, rate: int, seconds: float) -> Iterator[Issue]:
    """What ``Inspectable.issues`` asks for.

    Args:
        source: of the recording.
        raw: what was read of it.
        rate: to which the plugin resamples, in Hz.
        seconds: that the plugin keeps.
    """
    if isinstance(source, Path) and (kinds := identifying_fields(_tags(source))):
        yield Issue(
            severity="warning", code="header-identifiers", message=f"tags of the file seem to hold {', '.join(kinds)}"
        )
    yield from _level(raw)
    length = len(raw.samples) / raw.rate
    if length < _SHORTEST:
        yield Issue(
            severity="warning", code="very-short", message=f"{length:.2g} s are hardly a breath or a heart beat"
        )
    if length > _LONG * seconds:
        yield Issue(
            severity="note",
            code="very-long",
            message=f"of {length:.0f} s only the middle {seconds:g} s are read: raise `seconds` or cut the recording",
        )
    if raw.rate < rate:
        yield Issue(
            severity="note",
            code="low-rate",
            message=f"{raw.rate} Hz is below the {rate} Hz of the plugin: the highest bands stay empty",
        )


def encoding_of(source: Source) -> str:
    """The container of a sound file by its first bytes; empty where they say nothing."""
    if not isinstance(source, Path):
        return ""
    with source.open("rb") as stream:
        head = stream.read(4)
    known = {b"RIFF": "wav", b"RF64": "wav", b"fLaC": "flac", b"OggS": "ogg", b"ID3\x03": "mp3", b"ID3\x04": "mp3"}
    return known.get(head, "mp3" if head[:1] == b"\xff" else "")


def _tags(path: Path) -> str:
    with soundfile.SoundFile(path) as file:
        return "\n".join(f"{key}: {value}" for key, value in file.copy_metadata().items())


def _level(raw: Recording) -> Iterator[Issue]:
    if (share := float(raw.facts.get("clipping", 0.0))) > _CLIPPED:
        yield Issue(severity="warning", code="clipped", message=f"{share:.1%} of the samples are at full scale")
    kept, uncorrelated = float(raw.facts.get("mono_level", 1.0)), float(raw.facts.get("channels", 1.0)) ** -0.5
    if kept < _CANCELLED * uncorrelated:
        yield Issue(
            severity="warning",
            code="antiphase",
            message=f"channels cancel: their mean has {kept:.0%} of their level; was one of them recorded inverted?",
        )
    if np.abs(raw.samples).max() < _SILENT:
        yield Issue(severity="warning", code="silent", message="nothing louder than -60 dB of full scale")
    elif (dead := _dead_share(raw)) > _DEAD_SHARE:
        message = f"{dead:.0%} of the recording are stretches without a sound"
        yield Issue(severity="warning", code="silent", message=message)


def _dead_share(raw: Recording) -> float:
    """Share of tenths of a second in which no sample differs from the next."""
    size = max(2, raw.rate // 10)
    whole = len(raw.samples) // size * size
    if not whole:
        return 0.0
    pieces = raw.samples[:whole].reshape(-1, size)
    return float((np.ptp(pieces, axis=1) == 0).mean())
