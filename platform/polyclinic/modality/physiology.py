"""The latent patient behind a phantom study, and its findings.

Ten processes have a severity from 0 to 1. Each is drawn through a Gaussian copula: three hidden causes (heart
failure, infection, kidney disease) correlate the processes of one patient, and part of every process is
shared by all studies of the patient. A finding is present exactly when its severity is at least ``PRESENT``;
absent processes have a severity below ``ABSENT``, never exactly zero. The plugins render a process as follows:

================  ===================  =======================  ======================  ===================
process           X-ray                ECG                      audio                   laboratory
================  ===================  =======================  ======================  ===================
heart_size        wider heart                                                           BNP up
fluid             perihilar haze                                fine crackles           BNP up, SpO2 down
consolidation     patch in one lung                             coarse crackles         CRP, WBC up
effusion          meniscus at a base                            quieter breath
fibrillation                           irregular RR, no P wave
ventricular_mass  rounder apex         higher QRS voltage
ischaemia                              ST depression, flat T                            troponin up
airway_tone       low flat diaphragm                            wheeze, slow breath out  bicarbonate up
renal_impairment                       peaked T wave                                    creatinine, urea, K
anaemia                                faster rate                                      haemoglobin down
================  ===================  =======================  ======================  ===================

Two further traits are not diseases: ``heart_lie`` (+1 a horizontal heart, -1 a vertical one) is visible on the X-ray
only, ``electrical_axis`` (+1 leftward, -1 rightward) on the ECG only. They agree in 65 % of patients, each is
+1 in half of them, and *axis discordance* is their exclusive-or. It is independent of each trait, so that no
single modality carries information about it: it is visible only jointly.

The report states a random part of the findings, positive and negative, in varied wording. It also describes lie and
axis, as readers of radiographs and electrocardiograms do: each tower learns its trait from the report alone, and
their exclusive-or needs both.
"""

from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import ndtr

PRESENT = 0.4
ABSENT = 0.25

# process: (finding, prevalence, share fixed per patient, loadings on failure, infection, kidney)
_PROCESSES: dict[str, tuple[str, float, float, tuple[float, float, float]]] = {
    "heart_size": ("cardiomegaly", 0.38, 0.9, (0.6, 0.0, 0.0)),
    "fluid": ("pulmonary_edema", 0.32, 0.4, (0.6, 0.0, 0.3)),
    "consolidation": ("consolidation", 0.25, 0.2, (0.0, 0.6, 0.0)),
    "effusion": ("pleural_effusion", 0.30, 0.4, (0.5, 0.3, 0.0)),
    "fibrillation": ("atrial_fibrillation", 0.25, 0.8, (0.3, 0.0, 0.0)),
    "ventricular_mass": ("ventricular_hypertrophy", 0.30, 0.95, (0.3, 0.0, 0.2)),
    "ischaemia": ("myocardial_ischemia", 0.25, 0.3, (0.3, 0.0, 0.0)),
    "airway_tone": ("airway_obstruction", 0.35, 0.8, (0.0, 0.2, 0.0)),
    "renal_impairment": ("renal_impairment", 0.35, 0.9, (0.2, 0.0, 0.7)),
    "anaemia": ("anemia", 0.38, 0.8, (0.0, 0.0, 0.4)),
}
JOINT_FINDING = "axis_discordance"
_DISCORDANT_SHARE = 0.35

FINDINGS = (*(finding for finding, *_ in _PROCESSES.values()), JOINT_FINDING)
"""Names of the findings, in the order of the phantom's label columns."""

SITES = MappingProxyType({"north": 0.6, "south": 0.4})
"""Hospitals of the phantom and their share of patients; devices differ between them."""


@dataclass(frozen=True, kw_only=True)
class Physiology:
    """The latent state of a patient at one visit. Severities are from 0 to 1; the table of the module lists effects.

    Attributes:
        age: years.
        sex: ``"F"`` or ``"M"``.
        site: hospital, a key of ``SITES``.
        habitus: body size as a standard score; a large chest lowers ECG voltage.
        heart_rate: beats per minute.
        side: lung of one-sided disease, -1 for the patient's right one and +1 for the left.
        heart_lie: +1 horizontal, -1 vertical (X-ray only).
        electrical_axis: +1 leftward, -1 rightward (ECG only).
    """

    age: float
    sex: str
    site: str
    habitus: float
    heart_rate: float
    side: int
    heart_lie: int
    electrical_axis: int
    heart_size: float
    fluid: float
    consolidation: float
    effusion: float
    fibrillation: float
    ventricular_mass: float
    ischaemia: float
    airway_tone: float
    renal_impairment: float
    anaemia: float

    def findings(self) -> dict[str, bool]:
        """Return the presence of each finding, by name, in the order of ``FINDINGS``."""
        found = {finding: getattr(self, process) >= PRESENT for process, (finding, *_) in _PROCESSES.items()}
        return {**found, JOINT_FINDING: self.heart_lie != self.electrical_axis}


class Patient:
    """A latent patient, from whom visits are drawn.

    Args:
        rng: generator of the lasting traits; each visit takes another one.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._lasting = _copula(rng)
        lie = int(rng.choice([-1, 1]))
        self._traits: dict[str, Any] = {
            "age": float(np.clip(rng.normal(62, 16), 18, 95)),
            "sex": str(rng.choice(["F", "M"])),
            "site": str(rng.choice(list(SITES), p=list(SITES.values()))),
            "habitus": float(rng.normal()),
            "heart_lie": lie,
            "electrical_axis": -lie if rng.random() < _DISCORDANT_SHARE else lie,
        }

    def visit(self, rng: np.random.Generator) -> Physiology:
        """Draw a study: traits are constant, and each process has a constant and a new part."""
        fixed = np.array([share for _, _, share, _ in _PROCESSES.values()])
        scores = np.sqrt(fixed) * self._lasting + np.sqrt(1 - fixed) * _copula(rng)
        severity = {
            process: _severity(float(ndtr(score)), prevalence)
            for (process, (_, prevalence, _, _)), score in zip(_PROCESSES.items(), scores, strict=True)
        }
        rate = rng.normal(72, 9) + 18 * severity["anaemia"] + 14 * severity["fibrillation"]
        visit = {"heart_rate": float(np.clip(rate, 45, 130)), "side": int(rng.choice([-1, 1]))}
        return Physiology(**{**self._traits, **severity, **visit})


def as_record(physiology: Physiology) -> dict[str, Any]:
    """Return the latent values as a flat mapping, for tests and teaching; a cohort never holds them."""
    return asdict(physiology)


def _copula(rng: np.random.Generator) -> np.ndarray:
    """Draw standard normal scores, one per process, correlated through the three hidden causes."""
    loadings = np.array([loading for *_, loading in _PROCESSES.values()])
    # The residual brings the variance of every score to 1.
    residual = np.sqrt(1 - (loadings**2).sum(axis=1))
    return np.asarray(loadings @ rng.normal(size=loadings.shape[1]) + residual * rng.normal(size=len(loadings)))


def _severity(rank: float, prevalence: float) -> float:
    """Map a uniform rank to a severity: the top ``prevalence`` of ranks to [PRESENT, 1], the rest below ABSENT."""
    threshold = 1 - prevalence
    if rank >= threshold:
        return PRESENT + (1 - PRESENT) * (rank - threshold) / prevalence
    return ABSENT * rank / threshold
