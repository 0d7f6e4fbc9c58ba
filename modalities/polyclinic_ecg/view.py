"""What people see of an electrocardiogram: ten seconds of all leads, as on paper."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polyclinic.modality import OnTraces, Traces, relative_relevance
from polyclinic_ecg.recording import LEADS, Electrocardiogram

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
