"""Write a synthetic electrocardiogram as a WFDB record in format 16, in the style of two sites."""

from pathlib import Path

import numpy as np

from polyclinic.modality import Physiology
from polyclinic_ecg.heart import RATE, draw_heart
from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.wfdb_write import write_wfdb

_MISSING_LEAD_SHARE = 0.1
_MICROVOLT_SHARE = 0.1
_GAP_SHARE = 0.05
_NO_SAMPLE = -32768
# The south's device stores aVF before aVL and names leads in lower case.
_SOUTH_ORDER = (0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11)
_PER_MILLIVOLT = {"north": 1000.0, "south": 200.0}


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Draw an electrocardiogram, write its header and samples, and return the header.

    A share of the records lacks a chest lead, is stored in microvolts, or has a gap.
    """
    signal = draw_heart(physiology, rng)
    lost, micro, gap = rng.random(3) < (_MISSING_LEAD_SHARE, _MICROVOLT_SHARE, _GAP_SHARE)
    order = list(_SOUTH_ORDER if physiology.site == "south" else range(len(LEADS)))
    if lost:
        order.remove(int(rng.integers(6, len(LEADS))))
    names = [LEADS[lead].lower() if physiology.site == "south" else LEADS[lead] for lead in order]
    per_millivolt = _PER_MILLIVOLT[physiology.site]
    stored = np.clip(np.round(signal[order] * per_millivolt), -32767, 32767).astype(np.int16)
    if gap:
        lead, start = int(rng.integers(len(order))), int(rng.integers(signal.shape[1] - RATE))
        stored[lead, start : start + int(rng.integers(RATE // 10, RATE))] = _NO_SAMPLE
    gain = f"{per_millivolt / 1000 if micro else per_millivolt:g}(0)/{'uV' if micro else 'mV'}"
    comments = [f"age: {int(physiology.age)}", f"sex: {'female' if physiology.sex == 'F' else 'male'}"]
    return write_wfdb(path, stored, names=names, gain=gain, rate=RATE, comments=comments)
