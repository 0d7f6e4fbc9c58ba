"""Seconds of a fresh process from its start to the first augmented item: what ``fit`` imports, and one augmentation."""

import subprocess
import sys
import time
from statistics import median

from benchmarks.measure import Figure

COMMAND = "python -m benchmarks imports"
RUNS = 5
PROGRAM = """
import numpy, torch
import polyclinic.cli.fit
from polyclinic.modality import installed_modalities
plugins = installed_modalities()
plugins["xray"]().augment({"image": torch.zeros(1, 224, 224)}, numpy.random.default_rng(0))
"""


def measure() -> list[Figure]:
    """Time the program in separate processes; the first one, which fills the disk cache, is not counted."""
    seconds = [_seconds() for _ in range(RUNS + 1)][1:]
    return [Figure(name="import.training_seconds", value=median(seconds), unit="s", command=COMMAND)]


def _seconds() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    return time.perf_counter() - started
