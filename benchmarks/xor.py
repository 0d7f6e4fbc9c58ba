"""Accuracy on the exclusive-or of experiments/binary_xor at both ends of its sweep."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure

COMMAND = "python -m benchmarks xor"


def measure() -> list[Figure]:
    """Measure accuracy on the last variable; pairwise CLIP can only guess, so its distance from 0.5 is bounded."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "experiments/binary_xor/run.py", "--out", folder, "--p", "0", "1"]
        subprocess.run(command, check=True)
        report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    (p0, p1), eight = report["three"], report["eight"]["accuracy"]
    clip, gap = p1["clip"]["accuracy"], abs(p0["symile"]["accuracy"] - p0["clip"]["accuracy"])
    return [
        Figure(name="xor.symile_p1", value=p1["symile"]["accuracy"], unit="", goal=0.99, command=COMMAND),
        Figure(name="xor.clip_p1", value=clip, unit="", command=COMMAND),
        Figure(
            name="xor.clip_p1_from_chance", value=abs(clip - 0.5), unit="", goal=0.05, at_most=True, command=COMMAND
        ),
        Figure(name="xor.gap_p0", value=gap, unit="", goal=0.01, at_most=True, command=COMMAND),
        Figure(name="xor.eight_variables", value=eight, unit="", goal=0.99, command=COMMAND),
    ]
