"""Pictures of an electrocardiogram: the service's view, relevance per lead and time, and imputed records."""

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

_STRONGEST = 0.7


def draw_stretches(
    signal: Float[np.ndarray, "12 N"],
    recorded: Bool[np.ndarray, "12 N"],
    relevance: Float[Tensor, " T"],
    *,
    rate: float,
    by_lead: bool,
    axes: Axes,
) -> None:
    """Draw leads over time with a band behind each stretch, the stronger the more relevant.

    Args:
        signal: in millivolts.
        recorded: where there is a sample.
        relevance: of equal stretches of time, or with ``by_lead`` of those of each of the twelve leads in turn.
        rate: samples per second.
        by_lead: draw all leads, each with bands of its own, in place of some in front of common ones.
        axes: to draw on.

    Raises:
        ValueError: fewer tokens than one, more than samples, or no whole number for each lead.
    """
    length, rows = signal.shape[1], len(LEADS) if by_lead else 1
    if not 0 < len(relevance) <= length * rows or len(relevance) % rows:
        raise ValueError(
            f"got the relevance of {len(relevance)} tokens, expected a multiple of {rows} up to {length * rows}; give "
            "a row of `token_relevance`, for an encoder of this `stem`"
        )
    shown = LEADS if by_lead else SHOWN
    draw_leads(signal, recorded, rate=rate, axes=axes, shown=shown)
    strength = relative_relevance(relevance) * _STRONGEST
    bands = to_rgba_array(HEAT, alpha=strength).reshape(rows, -1, 4)
    # The first lead is at 0 and the last one at the bottom, each in the middle of its band.
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
    """Draw some leads one below the other; what was not recorded, and NaN, is left blank."""
    time = np.arange(signal.shape[1]) / rate
    known = np.where(recorded, signal, np.nan)
    for place, lead in enumerate(shown):
        axes.plot(time, known[LEADS.index(lead)] - place * APART, color="#0072B2", linewidth=0.7)
    axes.set_yticks([-place * APART for place in range(len(shown))], shown)
    axes.set(xlabel=f"seconds, {APART:g} mV between leads", xlim=(0, time[-1]), ylim=(-APART * len(shown), APART))
    axes.grid(alpha=0.3)


def write_leads(signal: Float[np.ndarray, "12 N"], *, rate: float, path: Path) -> Path:
    """Write a WFDB record in mV with a comment that says what it is; returns the header."""
    stored = np.clip(np.round(signal * _PER_MILLIVOLT), -32767, 32767).astype(np.int16)
    record = path.with_name(path.name.replace(".", "_"))
    return write_wfdb(record, stored, names=LEADS, gain=f"{_PER_MILLIVOLT:g}(0)/mV", rate=rate, comments=_COMMENTS)


SECONDS = 10.0
"""Of a longer record the middle is shown, as on the paper of a resting electrocardiogram."""

_FASTEST = 600.0
"""Samples per second that are shown: above, several means of neighbours share a pixel."""

_PAPER = (0.2, 0.5)
"""A large square at 25 mm/s and 10 mm/mV, in seconds and millivolts."""


def view_recording(raw: Electrocardiogram) -> Traces:
    """Show the middle of a record, each lead about its median, which takes the electrodes' offset away."""
    start = _start(raw, SECONDS)
    length = min(raw.signal.shape[1], round(SECONDS * raw.rate))
    first = round(start * raw.rate)
    shown = raw.signal[:, first : first + length].astype(np.float64)
    recorded = ~np.isnan(shown).all(axis=1)
    shown[recorded] -= np.nanmedian(shown[recorded], axis=1, keepdims=True)
    step = int(np.ceil(raw.rate / _FASTEST))
    means = shown[:, : length // step * step].reshape(len(LEADS), -1, step).mean(axis=2)
    return Traces(
        values=means, names=LEADS, unit="mV", rate=raw.rate / step, caption=_caption(raw, start), paper=_PAPER
    )


def locate_stretches(
    raw: Electrocardiogram, relevance: Float[Tensor, " T"], *, seconds: float, by_lead: bool
) -> OnTraces:
    """Bring the relevance of equal stretches of the model's window into the time of the view.

    Args:
        raw: decoded.
        relevance: of the stretches, or with ``by_lead`` of those of each of the twelve leads in turn.
        seconds: length of the window, from the middle of a longer record or from the start of a shorter one.
        by_lead: whether leads have stretches of their own.

    Raises:
        ValueError: no token, no whole number for each lead, or a relevance that cannot be drawn.
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
    """When the middle ``seconds`` of a record start."""
    return max(0.0, (raw.signal.shape[1] / raw.rate - seconds) / 2)


def _caption(raw: Electrocardiogram, start: float) -> str:
    whole = raw.signal.shape[1] / raw.rate
    part = f"{whole:.1f} s" if whole <= SECONDS else f"{SECONDS:g} of {whole:.1f} s, from {start:.1f} s on"
    return f"{part}, {raw.rate:g} samples per second, each lead about its median"
