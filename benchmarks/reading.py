"""Rate at which one core reads and prepares phantom studies, in studies per second by modality."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure
from polyclinic.modality import installed_modalities
from polyclinic.modality.physiology import Patient

STUDIES = 100
COMMAND = "python -m benchmarks reading"


def measure() -> list[Figure]:
    """Write studies of every installed modality, then time reading and preparing them."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, plugin in installed_modalities().items():
            modality = plugin()
            sources = [
                modality.phantom(
                    Patient(np.random.default_rng(seed)).visit(np.random.default_rng(seed)),
                    np.random.default_rng(seed),
                    Path(folder) / f"{name}{seed}",
                )
                for seed in range(STUDIES)
            ]
            modality.fit([modality.read(source) for source in sources])
            started = time.perf_counter()
            for source in sources:
                modality.prepare(modality.read(source))
            rate = STUDIES / (time.perf_counter() - started)
            figures.append(Figure(name=f"read.{name}_per_second", value=rate, unit="studies/s", command=COMMAND))
    return figures
