"""Synthetic course of a stay: vital signs every few hours and laboratory values twice a day, as CSV.

Values are in SI units, and each has more than one cause. A disease shows in the level of some values and in the trend
of others: renal impairment in a rising creatinine, an infection in a CRP that rises and then falls under treatment,
bleeding in a falling haemoglobin.
"""

import csv
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from polyclinic.modality import Physiology

UNITS = {
    "heart rate": "/min",
    "respiratory rate": "/min",
    "systolic pressure": "mmHg",
    "temperature": "Cel",
    "spo2": "%",
    "creatinine": "umol/L",
    "potassium": "mmol/L",
    "crp": "mg/L",
    "lactate": "mmol/L",
    "haemoglobin": "g/L",
    "bnp": "ng/L",
}
RANGES = {
    "heart rate": (60, 100),
    "respiratory rate": (12, 20),
    "systolic pressure": (100, 140),
    "temperature": (36.1, 37.5),
    "spo2": (94, 100),
    "creatinine": (45, 104),
    "potassium": (3.5, 5.1),
    "crp": (0, 5),
    "lactate": (0.5, 2.2),
    "haemoglobin": (120, 160),
    "bnp": (0, 100),
}
_DECIMALS = {"temperature": 1, "potassium": 1, "crp": 1, "lactate": 1}
_VITALS = ("heart rate", "respiratory rate", "systolic pressure", "temperature", "spo2")
_ADMISSION = datetime(2024, 3, 1)
_VITAL_HOURS, _LAB_HOURS = 4.0, 12.0
_MISSING_SHARE = 0.1


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Draw and write the course of a stay of one to three days, up to the study."""
    start = _ADMISSION + timedelta(minutes=int(rng.integers(0, 300 * 24 * 60)))
    length = float(rng.uniform(24, 72))
    admitted = str(rng.choice(["emergency", "elective"]))
    rows = [(0.0, "admission", admitted, "", "", "")]
    offset = dict(zip(UNITS, rng.normal(size=len(UNITS)), strict=True))
    for hour, code in _schedule(length, rng):
        level = _level(code, physiology, hour, offset) + _noise(code, rng)
        low, high = RANGES[code]
        rows.append((hour, code, f"{max(level, 0.1):.{_DECIMALS.get(code, 0)}f}", UNITS[code], str(low), str(high)))
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["time", "code", "value", "unit", "reference_low", "reference_high"])
        for hour, *event in rows:
            table.writerow([(start + timedelta(hours=hour)).isoformat(timespec="minutes"), *event])
    return path


def _schedule(length: float, rng: np.random.Generator) -> Iterator[tuple[float, str]]:
    """Yield the hours of vital signs and of laboratory values in order; some are left out."""
    events: list[tuple[float, str]] = []
    for code in UNITS:
        step = _VITAL_HOURS if code in _VITALS else _LAB_HOURS
        hours = np.arange(rng.uniform(0, 1), length, step)
        hours = hours + rng.uniform(0, 0.3, size=len(hours))
        taken = rng.random(len(hours)) >= _MISSING_SHARE
        events += [(float(hour), code) for hour in hours[taken]]
    yield from sorted(events)


def _level(code: str, physiology: Physiology, hour: float, offset: Mapping[str, float]) -> float:
    """Return the true level of a value at an hour of the stay."""
    ill, days = physiology, hour / 24
    person = offset[code]
    infected = ill.consolidation + 0.2 * ill.effusion
    treated = infected * np.exp(-max(0.0, days - 1) / 2)
    levels = {
        "heart rate": ill.heart_rate + 12 * treated + 3 * person,
        "respiratory rate": 15 + 7 * ill.fluid + 5 * treated + 1.2 * person,
        "systolic pressure": 128 + 14 * ill.ventricular_mass - 10 * treated + 9 * person,
        "temperature": 36.7 + 1.6 * treated + 0.2 * person,
        "spo2": min(100.0, 98 - 5 * ill.fluid - 4 * treated - 2 * ill.airway_tone + 0.6 * person),
        "creatinine": 72 * np.exp(0.62 * ill.renal_impairment * (1 + 0.25 * days) + 0.12 * person),
        "potassium": 4.1 + 0.8 * ill.renal_impairment + 0.2 * person,
        "crp": 4 * np.exp(2.7 * infected * min(1.0, 0.5 + days) - 0.25 * max(0.0, days - 1.5) + 0.4 * person),
        "lactate": 1.2 * np.exp(0.4 * ill.anaemia + 0.3 * ill.fluid + 0.2 * person),
        "haemoglobin": 141 * np.exp(-ill.anaemia * (0.2 + 0.06 * days) + 0.05 * person),
        "bnp": 45 * np.exp(1.7 * ill.fluid + 1.2 * ill.heart_size + 0.4 * person),
    }
    return float(levels[code])


def _noise(code: str, rng: np.random.Generator) -> float:
    low, high = RANGES[code]
    return float(rng.normal(0, 0.06 * (high - low)))
