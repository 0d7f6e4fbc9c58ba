"""De-identify the export of an ECG cart: its samples, rate and lead names as a WFDB record, and nothing else."""

from pathlib import Path

import numpy as np

from polyclinic.modality import Cleaned, UnreadableSource
from polyclinic_ecg.reading.wfdb_record import read_wfdb
from polyclinic_ecg.recording import LEADS, Electrocardiogram
from polyclinic_ecg.wfdb_write import write_wfdb

_PER_MILLIVOLT = 1e6
"""Steps of a nanovolt: carts store multiples of a nanovolt (SCP-ECG, ISHNE) or coarser steps."""

_MAX_STORED = 2**31 - 1
_NO_SAMPLE = -(2**31)


def write_clean_export(raw: Electrocardiogram, out: Path) -> Cleaned:
    """Write an electrocardiogram as a WFDB record in format 32, and compare what is read from it.

    A sample differs by half a step and the rounding of float32 at most. A step is a nanovolt, or the next power of ten
    that holds electrode offsets of more than two volts. The rate has six digits, like any rate that is de-identified.

    Args:
        raw: decoded electrocardiogram.
        out: path of the new record without a suffix.

    Raises:
        UnreadableSource: the record that was written is read differently.
    """
    rows = np.flatnonzero(~np.isnan(raw.signal).all(axis=1))
    signal = raw.signal[rows].astype(np.float64)
    gain = _PER_MILLIVOLT
    while np.nanmax(np.abs(signal)) * gain > _MAX_STORED:
        gain /= 10
    stored = np.where(np.isnan(signal), _NO_SAMPLE, np.round(signal * gain)).astype(np.int32)
    names = [LEADS[row] for row in rows]
    header = write_wfdb(out, stored, names=names, gain=f"{gain:.0f}(0)/mV", rate=raw.rate, comments=())
    written = read_wfdb(header)
    tolerance = 0.5 / gain + float(np.finfo(np.float32).eps) * np.abs(raw.signal)
    differs = np.abs(written.signal.astype(np.float64) - raw.signal) > tolerance
    gaps = np.isnan(written.signal) != np.isnan(raw.signal)
    if differs.any() or gaps.any() or abs(written.rate - raw.rate) > 1e-5 * raw.rate:
        raise UnreadableSource("its samples cannot be written as a WFDB record without a change")
    return Cleaned(source=header, removed={"everything but samples, rate and leads": 1})
