"""Draw recordings: the view of the service page, relevance over time, and imputed spectrograms."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from PIL import Image
from torch import Tensor

from polyclinic.modality import HEAT, LONGEST_SIDE, Axis, OnPicture, Picture, relative_relevance
from polyclinic_audio.mel import hz_to_mel
from polyclinic_audio.recording import Recording

_MAX_OPACITY = 0.6


def draw_patches(
    mel: Float[np.ndarray, "M F"], relevance: Float[Tensor, " T"], *, patch: int, hop: float, axes: Axes
) -> None:
    """Draw the relevance of time segments over a grey spectrogram.

    Args:
        mel: spectrogram.
        relevance: relevance of segments of ``patch`` frames, of which the last may be shorter.
        patch: frames per token.
        hop: time between frames in ms.
        axes: Matplotlib axes.

    Raises:
        ValueError: the number of tokens differs from that of segments, or the relevance cannot be drawn.
    """
    frames, bands = mel.shape
    count = -(-frames // patch)
    if len(relevance) != count:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {count} for {frames} frames with patch {patch}; "
            "pass a row of `token_relevance`, for an encoder of this `patch`"
        )
    # Grey, because relevance looks like the loud end of the usual colours.
    draw_mel(mel, hop=hop, axes=axes, colours="gray")
    heat = to_rgba_array(HEAT, alpha=relative_relevance(relevance) * _MAX_OPACITY)[None]
    extent = (0.0, count * patch * hop / 1000, 0.0, float(bands))
    axes.imshow(heat, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    axes.set_xlim(0, frames * hop / 1000)


_MAX_DEVIATION = 3.0


def draw_mel(mel: Float[np.ndarray, "M F"], *, hop: float, axes: Axes, colours: str = "cividis") -> None:
    """Draw a spectrogram, low bands at the bottom; hidden frames (NaN) stay blank."""
    extent = (0, len(mel) * hop / 1000, 0, mel.shape[1])
    axes.imshow(
        mel.T,
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=-_MAX_DEVIATION,
        vmax=_MAX_DEVIATION,
        extent=extent,
    )
    axes.set_facecolor("#cfe3f2")
    axes.set(xlabel="seconds", ylabel="mel band")


def write_mel(mel: Float[np.ndarray, "M F"], *, hop: float, unit: str, path: Path) -> Path:
    """Write a CSV file of one row per frame and one column per band, under a header that marks it as synthetic."""
    target = path.with_name(f"{path.name}.csv")
    seconds = np.arange(len(mel)) * hop / 1000
    bands = ",".join(f"mel{band}" for band in range(mel.shape[1]))
    heading = f"# SYNTHETIC: predicted by a model from other modalities, never recorded; {unit}\nseconds,{bands}"
    table = np.column_stack([seconds, mel])
    np.savetxt(target, table, fmt="%.4f", delimiter=",", header=heading, comments="", encoding="utf-8")
    return target


_SHOWN_DB = 80.0
_TICK_HZ = (100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
_TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)
_MAX_TICKS = 9
_MAX_PLACE = 0.97


def view_spectrogram(decibels: Float[np.ndarray, "M F"], raw: Recording, *, rate: int, seconds: float) -> Picture:
    """Return the view of a recording: the loudest 80 dB, low bands at the bottom.

    Args:
        decibels: spectrogram of the segment that the encoder reads.
        raw: decoded recording.
        rate: sampling rate of the encoder in Hz.
        seconds: length that the encoder reads, from the middle of a longer recording.
    """
    total = len(raw.samples) / raw.rate
    used, start = min(total, seconds), max(0.0, (total - seconds) / 2)
    share = np.clip((decibels.T[::-1] - decibels.max()) / _SHOWN_DB + 1, 0, 1)
    picture = Image.fromarray((share * 255).round().astype(np.uint8))
    width, height = min(LONGEST_SIDE, len(decibels)), min(LONGEST_SIDE, decibels.shape[1])
    part = f"{total:.1f} s" if total <= seconds else f"{used:g} of {total:.1f} s, from {start:.1f} s on"
    return Picture(
        grey=np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)),
        caption=f"mel spectrogram of {part}, {rate} samples per second; white is loudest, black {_SHOWN_DB:g} dB below",
        across=Axis(name="time", unit="s", ticks=_times(start, used)),
        up=Axis(name="frequency", unit="Hz", ticks=_frequencies(rate, decibels.shape[1])),
    )


def locate_patches(relevance: Float[Tensor, " T"], *, frames: int, shown: int, patch: int) -> OnPicture:
    """Return the relevance of time segments in the coordinates of the view.

    Args:
        relevance: relevance of segments of ``patch`` frames, of which the last may be shorter.
        frames: frames that the encoder reads, including padding.
        shown: frames of the view.
        patch: frames per token.

    Raises:
        ValueError: the number of tokens differs from that of segments, or the relevance cannot be drawn.
    """
    count = -(-frames // patch)
    if len(relevance) != count:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {count} for {frames} frames with patch {patch}; "
            "pass a row of `token_relevance`, for an encoder of this `patch`"
        )
    return OnPicture(strength=relative_relevance(relevance)[None], across=(0.0, count * patch / shown))


def _times(start: float, seconds: float) -> tuple[tuple[float, float], ...]:
    """Return ticks at round seconds of the recording, few enough to be legible."""
    step = next((step for step in _TICK_STEPS if seconds / step < _MAX_TICKS), 10 * _TICK_STEPS[-1])
    first, last = int(np.ceil(start / step)), int(np.floor((start + seconds) / step))
    return tuple(((number * step - start) / seconds, round(number * step, 1)) for number in range(first, last + 1))


def _frequencies(rate: int, bands: int) -> tuple[tuple[float, float], ...]:
    """Return ticks at round frequencies, placed by the centres of the mel bands."""
    corner = float(hz_to_mel(np.array(rate / 2))) / (bands + 1)
    places = (hz_to_mel(np.array(_TICK_HZ)) / corner - 0.5) / bands
    return tuple((place, hz) for place, hz in zip(places.tolist(), _TICK_HZ, strict=True) if 0 <= place <= _MAX_PLACE)
