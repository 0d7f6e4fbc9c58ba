"""Draw electrocardiograms: the view of the service page, relevance by lead and time, and imputed records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from torch import Tensor

from polyclinic.modality import HEAT, OnTraces, Traces, relative_relevance
from polyclinic_ecg.recording import LEADS, Electrocardiogram
from polyclinic_ecg.wfdb_write import write_wfdb

_MAX_OPACITY = 0.7


def draw_stretches(
    signal: Float[np.ndarray, "12 N"],
    recorded: Bool[np.ndarray, "12 N"],
    relevance: Float[Tensor, " T"],
    *,
    rate: float,
    by_lead: bool,
    axes: Axes,
) -> None:
    """Draw leads over time with a coloured band behind each stretch, whose opacity is the relevance.

    Args:
        signal: leads in mV.
        recorded: mask of the recorded samples.
        relevance: relevance of equal stretches of time; with ``by_lead``, of those of each of the twelve leads in turn.
        rate: samples per second.
        by_lead: draw all leads, each with separate bands, instead of six leads with common bands.
        axes: axes to draw on.

    Raises:
        ValueError: there is no token, there are more tokens than samples, or leads have different numbers of tokens.
    """
    length, rows = signal.shape[1], len(LEADS) if by_lead else 1
    if not 0 < len(relevance) <= length * rows or len(relevance) % rows:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected a multiple of {rows} up to {length * rows}; give "
            "a row of `token_relevance`, for an encoder of this `stem`"
        )
    shown = LEADS if by_lead else SHOWN
    draw_leads(signal, recorded, rate=rate, axes=axes, shown=shown)
    strength = relative_relevance(relevance) * _MAX_OPACITY
    bands = to_rgba_array(HEAT, alpha=strength).reshape(rows, -1, 4)
    # The first lead is drawn at 0, each lead in the middle of its band.
    extent = (0.0, length / rate, (0.5 - len(shown)) * APART, 0.5 * APART)
    axes.imshow(bands, extent=extent, aspect="auto", interpolation="nearest", zorder=0.5)


SHOWN = ("I", "II", "aVF", "V1", "V3", "V6")
APART = 1.5
_PER_MILLIVOLT = 1000.0
_COMMENTS = ("SYNTHETIC: predicted by a model from other modalities, never recorded",)


def draw_leads(
    signal: Float[np.ndarray, "12 N"],
    recorded: Bool[np.ndarray, "12 N"],
    *,
    rate: float,
    axes: Axes,
    shown: Sequence[str] = SHOWN,
) -> None:
    """Draw the ``shown`` leads below each other; samples that are NaN or were not recorded are blank."""
    time = np.arange(signal.shape[1]) / rate
    visible = np.where(recorded, signal, np.nan)
    for row, lead in enumerate(shown):
        axes.plot(time, visible[LEADS.index(lead)] - row * APART, color="#0072B2", linewidth=0.7)
    axes.set_yticks([-row * APART for row in range(len(shown))], shown)
    axes.set(xlabel=f"seconds, {APART:g} mV between leads", xlim=(0, time[-1]), ylim=(-APART * len(shown), APART))
    axes.grid(alpha=0.3)


def write_leads(signal: Float[np.ndarray, "12 N"], *, rate: float, path: Path) -> Path:
    """Write a WFDB record in mV with a comment that it is synthetic, and return the header."""
    stored = np.clip(np.round(signal * _PER_MILLIVOLT), -32767, 32767).astype(np.int16)
    record = path.with_name(path.name.replace(".", "_"))
    return write_wfdb(record, stored, names=LEADS, gain=f"{_PER_MILLIVOLT:g}(0)/mV", rate=rate, comments=_COMMENTS)


SECONDS = 10.0
"""Length of the view, which is that of a printed resting electrocardiogram; the middle of a longer record is shown."""

_MAX_RATE = 600.0
"""Samples per second of the view; at a higher rate, neighbours are averaged, as they would share a pixel."""

_PAPER_SQUARE = (0.2, 0.5)
"""Large square of paper at 25 mm/s and 10 mm/mV, in seconds and millivolts."""


def view_recording(raw: Electrocardiogram) -> Traces:
    """Draw the middle of a record, with each lead relative to its median, which removes the electrode offset."""
    start = _start(raw, SECONDS)
    length = min(raw.signal.shape[1], round(SECONDS * raw.rate))
    first = round(start * raw.rate)
    shown = raw.signal[:, first : first + length].astype(np.float64)
    recorded = ~np.isnan(shown).all(axis=1)
    shown[recorded] -= np.nanmedian(shown[recorded], axis=1, keepdims=True)
    step = int(np.ceil(raw.rate / _MAX_RATE))
    means = shown[:, : length // step * step].reshape(len(LEADS), -1, step).mean(axis=2)
    return Traces(
        values=means, names=LEADS, unit="mV", rate=raw.rate / step, caption=_caption(raw, start), paper=_PAPER_SQUARE
    )


def locate_stretches(
    raw: Electrocardiogram, relevance: Float[Tensor, " T"], *, seconds: float, by_lead: bool
) -> OnTraces:
    """Convert the relevance of equal stretches of the model's window to the time of the view.

    Args:
        raw: decoded electrocardiogram.
        relevance: relevance of the stretches; with ``by_lead``, of those of each of the twelve leads in turn.
        seconds: length of the window: the middle of a longer record, or a shorter record padded at its end.
        by_lead: True if each lead has separate stretches.

    Raises:
        ValueError: there is no token, leads have different numbers of tokens, or a relevance cannot be drawn.
    """
    rows = len(LEADS) if by_lead else 1
    if not len(relevance) or len(relevance) % rows:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected a multiple of {rows}; give a row of "
            "`token_relevance`, for an encoder of this `stem`"
        )
    begin = _start(raw, seconds) - _start(raw, SECONDS)
    return OnTraces(strength=relative_relevance(relevance).reshape(rows, -1), seconds=(begin, begin + seconds))


def _start(raw: Electrocardiogram, seconds: float) -> float:
    """Return the time at which the middle ``seconds`` of a record start."""
    return max(0.0, (raw.signal.shape[1] / raw.rate - seconds) / 2)


def _caption(raw: Electrocardiogram, start: float) -> str:
    duration = raw.signal.shape[1] / raw.rate
    part = f"{duration:.1f} s" if duration <= SECONDS else f"{SECONDS:g} of {duration:.1f} s, from {start:.1f} s on"
    return f"{part}, {raw.rate:g} samples per second, each lead about its median"
