"""Figures of experiments/heads: fusion, modalities missing not at random, and low-rank adaptation."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure

COMMAND = "python -m benchmarks heads"
GOALS = {
    "fusion.gain_over_best_single": (0.0, False),
    "fusion.mnar_advantage_sequential": (0.0, False),
    "lora.gap_to_full": (0.02, True),
    "lora.trained_share": (0.05, True),
}


def measure() -> list[Figure]:
    """Report every figure of the experiment, which trains for about thirty minutes."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "experiments/heads/run.py", "--out", folder], check=True)
        report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    return [
        Figure(name=name, value=report["figures"][name], unit="", goal=goal, at_most=at_most, command=COMMAND)
        for name, (goal, at_most) in GOALS.items()
    ]
