"""An electrocardiogram that a model filled in, to be looked at and kept."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.wfdb_write import write_wfdb

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
