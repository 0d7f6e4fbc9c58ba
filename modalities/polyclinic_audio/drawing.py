"""Pictures of a recording: the service's view, relevance over time, and imputed recordings."""

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

_STRONGEST = 0.6


def draw_patches(
    mel: Float[np.ndarray, "M F"], relevance: Float[Tensor, " T"], *, patch: int, hop: float, axes: Axes
) -> None:
    """Lay the relevance of stretches of time over a spectrogram in grey.

    Args:
        mel: frames and bands.
        relevance: of stretches of ``patch`` frames, the last one perhaps shorter.
        patch: frames of a token.
        hop: time between two frames in ms.
        axes: to draw on.

    Raises:
        ValueError: another number of tokens than of stretches, or a relevance that cannot be drawn.
    """
    frames, bands = mel.shape
    count = -(-frames // patch)
    if len(relevance) != count:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {count} for {frames} frames with patch {patch}; "
            "give a row of `token_relevance`, for an encoder of this `patch`"
        )
    # In grey, because relevance and the loud end of the usual colours look alike.
    draw_mel(mel, hop=hop, axes=axes, colours="gray")
    heat = to_rgba_array(HEAT, alpha=relative_relevance(relevance) * _STRONGEST)[None]
    extent = (0.0, count * patch * hop / 1000, 0.0, float(bands))
    axes.imshow(heat, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    axes.set_xlim(0, frames * hop / 1000)


_RANGE = 3.0


def draw_mel(mel: Float[np.ndarray, "M F"], *, hop: float, axes: Axes, colours: str = "cividis") -> None:
    """Draw time against bands, low ones at the bottom; hidden frames (NaN) stay blank."""
    extent = (0, len(mel) * hop / 1000, 0, mel.shape[1])
    axes.imshow(mel.T, origin="lower", aspect="auto", cmap=colours, vmin=-_RANGE, vmax=_RANGE, extent=extent)
    axes.set_facecolor("#cfe3f2")
    axes.set(xlabel="seconds", ylabel="mel band")


def write_mel(mel: Float[np.ndarray, "M F"], *, hop: float, unit: str, path: Path) -> Path:
    """Write a table of one row per frame and one column per band, with a heading that says what it is."""
    written = path.with_name(f"{path.name}.csv")
    seconds = np.arange(len(mel)) * hop / 1000
    bands = ",".join(f"mel{band}" for band in range(mel.shape[1]))
    heading = f"# SYNTHETIC: predicted by a model from other modalities, never recorded; {unit}\nseconds,{bands}"
    table = np.column_stack([seconds, mel])
    np.savetxt(written, table, fmt="%.4f", delimiter=",", header=heading, comments="", encoding="utf-8")
    return written


_SHOWN_DB = 80.0
_HERTZ = (100.0, 200.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0)
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)
_MOST_TICKS = 9
_TOP_MARGIN = 0.97


def view_spectrogram(decibels: Float[np.ndarray, "M F"], raw: Recording, *, rate: int, seconds: float) -> Picture:
    """Show the loudest 80 dB, time from left to right and low bands at the bottom.

    Args:
        decibels: frames and bands of what the model hears.
        raw: that they are from.
        rate: samples per second of what the model hears.
        seconds: longest stretch that the model hears, from the middle of a longer recording.
    """
    whole = len(raw.samples) / raw.rate
    heard, start = min(whole, seconds), max(0.0, (whole - seconds) / 2)
    share = np.clip((decibels.T[::-1] - decibels.max()) / _SHOWN_DB + 1, 0, 1)
    picture = Image.fromarray((share * 255).round().astype(np.uint8))
    width, height = min(LONGEST_SIDE, len(decibels)), min(LONGEST_SIDE, decibels.shape[1])
    part = f"{whole:.1f} s" if whole <= seconds else f"{heard:g} of {whole:.1f} s, from {start:.1f} s on"
    return Picture(
        grey=np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)),
        caption=f"mel spectrogram of {part}, {rate} samples per second; white is loudest, black {_SHOWN_DB:g} dB below",
        across=Axis(name="time", unit="s", ticks=_times(start, heard)),
        up=Axis(name="frequency", unit="Hz", ticks=_frequencies(rate, decibels.shape[1])),
    )


def locate_patches(relevance: Float[Tensor, " T"], *, frames: int, shown: int, patch: int) -> OnPicture:
    """Bring the relevance of stretches of time into the picture.

    Args:
        relevance: of stretches of ``patch`` frames, the last one perhaps shorter.
        frames: that the model hears, those after the end of the recording among them.
        shown: frames that the picture has.
        patch: frames of a token.

    Raises:
        ValueError: another number of tokens than of stretches, or a relevance that cannot be drawn.
    """
    count = -(-frames // patch)
    if len(relevance) != count:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected {count} for {frames} frames with patch {patch}; "
            "give a row of `token_relevance`, for an encoder of this `patch`"
        )
    return OnPicture(strength=relative_relevance(relevance)[None], across=(0.0, count * patch / shown))


def _times(start: float, seconds: float) -> tuple[tuple[float, float], ...]:
    """Round seconds of the recording, few enough to be read."""
    step = next((one for one in _STEPS if seconds / one < _MOST_TICKS), 10 * _STEPS[-1])
    first, last = int(np.ceil(start / step)), int(np.floor((start + seconds) / step))
    return tuple(((number * step - start) / seconds, round(number * step, 1)) for number in range(first, last + 1))


def _frequencies(rate: int, bands: int) -> tuple[tuple[float, float], ...]:
    """Round frequencies at the height of the band of which they are the centre."""
    corner = float(hz_to_mel(np.array(rate / 2))) / (bands + 1)
    places = (hz_to_mel(np.array(_HERTZ)) / corner - 0.5) / bands
    return tuple((place, hz) for place, hz in zip(places.tolist(), _HERTZ, strict=True) if 0 <= place <= _TOP_MARGIN)
