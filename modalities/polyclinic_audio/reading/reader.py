"""Read sound files to mono samples with libsndfile."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from polyclinic.modality import UnreadableSource
from polyclinic_audio.reading.container import refuse_truncated
from polyclinic_audio.reading.mpeg import decodable, scan_mpeg
from polyclinic_audio.recording import MAX_SAMPLES, Recording

FORMATS = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3", "MPEG": "mp3"}
_CLIPPING_LEVEL = 0.99
_MAX_MAGNITUDE = 1e9
_MIN_RATE, _MAX_RATE = (500, 192_000)


def read_sound(path: Path, *, max_seconds: float) -> Recording:
    """Decode a WAV, FLAC, OGG (Vorbis, Opus) or MP3 file and average its channels.

    Raises:
        UnreadableSource: the file is truncated, of another format, longer than ``max_seconds``, empty or constant, or
            holds samples that are not finite.
    """
    refuse_truncated(path)
    try:
        with open_sound(path, max_seconds=max_seconds) as file:
            _refuse_unusable(file, max_seconds)
            declared, rate, kind, encoding = file.frames, file.samplerate, file.format, file.subtype
            channels = file.read(dtype="float32", always_2d=True)
    except UnreadableSource:
        raise
    except Exception as error:
        raise UnreadableSource(f"sound cannot be decoded ({type(error).__name__})") from None
    if len(channels) != declared:
        raise UnreadableSource(f"sound is cut short: got {len(channels)} of {declared} declared samples")
    facts: dict[str, float | str] = {
        "format": FORMATS[kind],
        "encoding": encoding.lower(),
        "rate": float(rate),
        "seconds": len(channels) / rate,
        "channels": float(channels.shape[1]),
        "clipping": float((np.abs(channels) >= _CLIPPING_LEVEL).mean()),
    }
    samples = _mono(channels)
    return Recording(samples, rate, {**facts, "mono_level": _mono_level(channels, samples)})


def read_header(path: Path) -> tuple[int, float] | None:
    """Return rate in Hz and seconds by the header of a file; None where ``read_sound`` would refuse it for these.

    The seconds of an MPEG stream are an estimate, as its header need not state them.
    """
    try:
        header = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        return None
    if header.format not in FORMATS or header.frames <= 0 or not _MIN_RATE <= header.samplerate <= _MAX_RATE:
        return None
    return header.samplerate, header.frames / header.samplerate


@contextmanager
def open_sound(path: Path, *, max_seconds: float = math.inf) -> Iterator[soundfile.SoundFile]:
    """Open a sound file; the length of an MPEG stream is counted from its frames.

    Raises:
        UnreadableSource: ``scan_mpeg`` refuses the MPEG stream.
        LibsndfileError: the file is not a sound file.
    """
    with soundfile.SoundFile(path) as file:
        if not file.subtype.startswith("MPEG_LAYER"):
            yield file
            return
        if FORMATS.get(file.format) != "mp3":
            raise UnreadableSource(f"MPEG sound inside a {file.format} file; expected it as an MP3 file")
    stream = scan_mpeg(path, max_seconds=max_seconds)
    with soundfile.SoundFile(decodable(stream)) as file:
        if abs(file.frames - stream.samples) > stream.header.samples:
            raise UnreadableSource(f"MPEG stream of {stream.samples} samples, of which {file.frames} can be decoded")
        yield file


def _refuse_unusable(file: soundfile.SoundFile, max_seconds: float) -> None:
    if file.format not in FORMATS:
        raise UnreadableSource(f"got a {file.format} file, expected {', '.join(sorted(set(FORMATS.values())))}")
    if file.frames <= 0:
        raise UnreadableSource("sound of zero length")
    if not _MIN_RATE <= file.samplerate <= _MAX_RATE:
        # The length of the resampling filter grows with the rate.
        raise UnreadableSource(f"sampling rate of {file.samplerate} Hz; expected {_MIN_RATE} to {_MAX_RATE:,} Hz")
    seconds = file.frames / file.samplerate
    if seconds > max_seconds:
        raise UnreadableSource(f"sound of {seconds:.0f} s; expected at most {max_seconds:g} s, set `max_seconds`")
    if file.frames * file.channels > MAX_SAMPLES:
        raise UnreadableSource(
            f"{file.channels} channels of {file.frames} samples; expected at most {MAX_SAMPLES:,} in all"
        )


def _mono(channels: Float[np.ndarray, "N C"]) -> Float[np.ndarray, " N"]:
    usable = np.abs(channels) < _MAX_MAGNITUDE
    if not usable.all():
        raise UnreadableSource(f"{np.mean(~usable):.1%} of the samples are not finite numbers below {_MAX_MAGNITUDE:g}")
    samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    if np.ptp(samples) == 0:
        raise UnreadableSource(f"silent: the mean of its {channels.shape[1]} channel(s) is constant")
    return np.ascontiguousarray(samples)


def _mono_level(channels: Float[np.ndarray, "N C"], samples: Float[np.ndarray, " N"]) -> float:
    """Return the deviation of the mean channel relative to the RMS deviation of all channels, 1 if they are equal."""
    if channels.shape[1] == 1:
        return 1.0
    return float(samples.std() / max(np.sqrt(np.square(channels.std(axis=0)).mean()), np.finfo(np.float32).tiny))
