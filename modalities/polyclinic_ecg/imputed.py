"""An electrocardiogram that a model filled in, to be looked at and kept."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.wfdb_write import write_wfdb

_SHOWN = ("I", "II", "aVF", "V1", "V3", "V6")
_APART = 1.5
_PER_MILLIVOLT = 1000.0
_COMMENTS = ("SYNTHETIC: predicted by a model from other modalities, never recorded",)


def draw_leads(
    signal: Float[np.ndarray, "12 N"], recorded: Bool[np.ndarray, "12 N"], *, rate: float, axes: Axes
) -> None:
    """Draw some leads one below the other; what was not recorded, and NaN, is left blank."""
    time = np.arange(signal.shape[1]) / rate
    shown = np.where(recorded, signal, np.nan)
    for place, lead in enumerate(_SHOWN):
        axes.plot(time, shown[LEADS.index(lead)] - place * _APART, color="#0072B2", linewidth=0.7)
    axes.set_yticks([-place * _APART for place in range(len(_SHOWN))], _SHOWN)
    axes.set(xlabel=f"seconds, {_APART:g} mV between leads", xlim=(0, time[-1]), ylim=(-_APART * len(_SHOWN), _APART))
    axes.grid(alpha=0.3)


def write_leads(signal: Float[np.ndarray, "12 N"], *, rate: float, path: Path) -> Path:
    """Write a WFDB record in mV with a comment that says what it is; returns the header."""
    stored = np.clip(np.round(signal * _PER_MILLIVOLT), -32767, 32767).astype(np.int16)
    record = path.with_name(path.name.replace(".", "_"))
    return write_wfdb(record, stored, names=LEADS, gain=f"{_PER_MILLIVOLT:g}(0)/mV", rate=rate, comments=_COMMENTS)
