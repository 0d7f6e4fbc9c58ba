"""Formats of electrocardiograms that are read, and the largest difference from the signal they were written from."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.cart_files import WRITERS
from benchmarks.fuzz import dicom_waveform
from benchmarks.measure import Figure
from polyclinic.modality.physiology import Patient
from polyclinic_ecg import ECG
from polyclinic_ecg.heart import RATE, draw_heart
from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.wfdb_write import write_wfdb

COMMAND = "python -m benchmarks ecg_formats"
MIN_FORMATS, MAX_GAP = 10.0, 0.005


def measure() -> list[Figure]:
    """Write one signal in every format and read it; differences go to stderr.

    The signal has twelve leads, so that a lead that is computed from others differs by up to a step of the format.
    """
    gaps: dict[str, float] = {}
    rng = np.random.default_rng(0)
    signal = draw_heart(Patient(rng).visit(rng), rng)
    with tempfile.TemporaryDirectory() as name:
        for format_name, path in _written(Path(name), signal).items():
            raw = ECG().read(path)
            assert raw.rate == RATE, f"{format_name} at {raw.rate} Hz"
            gaps[format_name] = float(np.abs(raw.signal - signal[:, : raw.signal.shape[1]]).max())
    sys.stderr.write("".join(f"{name}: {gap * 1000:.2f} uV\n" for name, gap in gaps.items()))
    formats = {name.removesuffix("-compressed") for name in gaps}
    return [
        Figure(name="ecg.formats", value=float(len(formats)), unit="formats", goal=MIN_FORMATS, command=COMMAND),
        Figure(
            name="ecg.format_gap_mv", value=max(gaps.values()), unit="mV", goal=MAX_GAP, at_most=True, command=COMMAND
        ),
    ]


def _written(folder: Path, signal: np.ndarray) -> dict[str, Path]:
    files = {}
    for name, (write, suffix, _) in WRITERS.items():
        files[name] = folder / f"{name}{suffix}"
        write(files[name], signal, float(RATE))
    # The converter to DICOM takes the samples of a record in steps of 5 uV.
    stored = np.round(signal * 200).astype(np.int16)
    header = write_wfdb(folder / "wfdb", stored, names=LEADS, gain="200(0)/mV", rate=RATE, comments=())
    return {**files, "wfdb": header, "dicom": dicom_waveform(header)[0]}
