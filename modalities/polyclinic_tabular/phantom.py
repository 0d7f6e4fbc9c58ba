"""Synthetic panel of laboratory values and vital signs, drawn from a latent patient and written as CSV.

Reference intervals are those of adults, in SI units. Every value has more than one cause and varies between people,
so that a finding shows in the panel rather than in one value.
"""

import csv
from pathlib import Path

import numpy as np

from polyclinic.modality import Physiology
from polyclinic_tabular.panel import UNITS

_MIN_MISSING, _MAX_MISSING = 0.05, 0.20
_DECIMALS = {"potassium": 1, "urea": 1, "crp": 1, "wbc": 1, "temperature": 1, "glucose": 1, "lactate": 1}


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Draw and write a panel; a missing value has no line, or an empty cell at site south."""
    values = draw_panel(physiology, rng)
    rates = np.linspace(_MIN_MISSING, _MAX_MISSING, len(values))
    is_measured = rng.random(len(values)) >= rates
    lines = [("age", f"{physiology.age:.0f}", UNITS["age"]), ("sex", physiology.sex, "")]
    for (name, value), present in zip(values.items(), is_measured, strict=True):
        if present or physiology.site == "south":
            lines.append((name, f"{value:.{_DECIMALS.get(name, 0)}f}" if present else "", UNITS[name]))
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("name", "value", "unit"), *lines])
    return path


def draw_panel(physiology: Physiology, rng: np.random.Generator) -> dict[str, float]:
    """Draw every value of the panel, in the units of ``UNITS``, before values go missing."""
    return {
        **_heart(physiology, rng),
        **_kidney(physiology, rng),
        **_blood(physiology, rng),
        **_infection(physiology, rng),
        **_lungs(physiology, rng),
    }


def _skewed(rng: np.random.Generator, median: float, effect: float, spread: float) -> float:
    """Draw a log-normal value with median ``median * exp(effect)`` and coefficient of variation about ``spread``."""
    return float(median * np.exp(effect + rng.normal(0, spread)))


def _heart(physiology: Physiology, rng: np.random.Generator) -> dict[str, float]:
    """Draw BNP and troponin: both rise with age and renal impairment, BNP falls with body size."""
    failing = 1.7 * physiology.fluid + 1.3 * physiology.heart_size + 0.6 * physiology.fibrillation
    aged = 0.02 * (physiology.age - 60) + 0.3 * (physiology.sex == "F") - 0.15 * physiology.habitus
    damage = 2.2 * physiology.ischaemia + 0.5 * physiology.renal_impairment + 0.3 * physiology.fluid
    return {
        "bnp": _skewed(rng, 45, failing + aged + 0.6 * physiology.renal_impairment, 0.6),
        "troponin": _skewed(rng, 7, damage + 0.015 * (physiology.age - 60) + 0.3 * (physiology.sex == "M"), 0.6),
    }


def _kidney(physiology: Physiology, rng: np.random.Generator) -> dict[str, float]:
    """Draw renal values; muscle also affects creatinine, thirst urea and sodium, and fluid potassium and sodium."""
    renal, age = physiology.renal_impairment, physiology.age - 60
    muscle = 0.24 * (physiology.sex == "M") + 0.06 * physiology.habitus + 0.004 * age
    thirst = rng.normal(0, 0.22)
    return {
        "creatinine": _skewed(rng, 62, 0.66 * renal + muscle, 0.16),
        "urea": _skewed(rng, 5.0, 0.74 * renal + 0.008 * age + thirst, 0.12),
        "potassium": float(4.15 + 0.85 * renal - 0.15 * physiology.fluid + rng.normal(0, 0.3)),
        "sodium": float(140 - 2.5 * physiology.fluid - 1.5 * renal + 4 * thirst + rng.normal(0, 2.0)),
    }


def _blood(physiology: Physiology, rng: np.random.Generator) -> dict[str, float]:
    """Draw blood counts: haemoglobin and haematocrit differ by sex, fall with age and share plasma dilution."""
    male, age = physiology.sex == "M", physiology.age - 60
    dilution = rng.normal(0, 0.035) + 0.03 * physiology.fluid
    effect = -0.30 * physiology.anaemia - dilution - 0.001 * age + 0.07 * (male - 0.5)
    return {
        "haemoglobin": _skewed(rng, 141, effect + 0.05 * (male - 0.5), 0.066),
        "haematocrit": _skewed(rng, 42.5, effect + 0.03 * (male - 0.5), 0.066),
        "platelets": _skewed(rng, 235, 0.22 * physiology.anaemia + 0.1 * physiology.consolidation, 0.22),
    }


def _infection(physiology: Physiology, rng: np.random.Generator) -> dict[str, float]:
    """Draw markers of inflammation: CRP, white cells and temperature rise together, whatever the cause."""
    other_cause = abs(rng.normal(0, 0.25))
    inflamed = physiology.consolidation + 0.3 * physiology.effusion + other_cause
    return {
        "crp": _skewed(rng, 3.5, 2.6 * inflamed, 0.7),
        "wbc": _skewed(rng, 6.6, 0.55 * inflamed, 0.22),
        "temperature": float(36.7 + 1.1 * physiology.consolidation + 0.4 * other_cause + rng.normal(0, 0.35)),
    }


def _lungs(physiology: Physiology, rng: np.random.Generator) -> dict[str, float]:
    """Draw blood gases: saturation falls in lung disease, bicarbonate rises in airway and falls in renal disease."""
    shunt = 4.8 * physiology.fluid + 4 * physiology.consolidation + 2 * physiology.effusion
    drop = shunt + 3 * physiology.airway_tone + abs(rng.normal(0, 1.8))
    acid = 3.4 * physiology.renal_impairment + rng.normal(0, 1.6)
    return {
        "spo2": float(np.clip(98.5 - drop, 70, 100)),
        "bicarbonate": float(24.5 + 5 * physiology.airway_tone - acid),
        "glucose": _skewed(rng, 5.8, 0.1 * physiology.habitus + 0.003 * (physiology.age - 60), 0.2),
        "lactate": _skewed(rng, 1.2, 0.35 * physiology.anaemia + 0.3 * physiology.fluid, 0.3),
    }
