"""Default recipes on public sets against the baseline of the same run; see experiments/real.

The environment variable ``POLYCLINIC_REAL`` is the folder of the sets, by default ``../shared/real``, and
``POLYCLINIC_REAL_SEEDS`` the number of seeds. Three seeds take about three hours on two cores.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure

COMMAND = "python -m benchmarks real"
ROOT = Path(__file__).resolve().parents[1]
FIGURES = (
    ("real.ptbxl_gain", "ptbxl", "gain", 0.0, False),
    ("real.ludb_gain", "ludb", "gain", 0.0, False),
    ("real.ludb_age_mae", "ludb", "age model error", 10.0, True),
    ("real.ludb_age_mae_of_ridge", "ludb", "age baseline error", None, True),
    ("real.openi_report", "openi", "model", 0.97, False),
    ("real.openi_gain", "openi", "gain", -0.005, False),
    ("real.ptbxl_gain_pretrained", "pretrained", "ptbxl gain", 0.02, False),
    ("real.ludb_gain_pretrained", "pretrained", "ludb gain", 0.02, False),
    ("real.zero_shot_ptbxl", "zeroshot", "auroc", None, False),
    ("real.zero_shot_ptbxl_mrr", "zeroshot", "mrr among ten", None, False),
    ("real.fit_seconds_ratio", "ptbxl", "seconds over those of the baseline", 3.0, True),
)


def measure() -> list[Figure]:
    """Run every recipe with every seed, and report the means."""
    data = Path(os.environ.get("POLYCLINIC_REAL", "../shared/real"))
    if not data.is_dir():
        raise ValueError(f"got {data}, which is not a folder; set POLYCLINIC_REAL to the folder with ptbxl500 and ludb")
    with tempfile.TemporaryDirectory() as folder:
        words = ["--data", data, "--out", folder, "--seeds", os.environ.get("POLYCLINIC_REAL_SEEDS", "3")]
        subprocess.run([sys.executable, "experiments/real/run.py", *map(str, words)], check=True)
        report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    figures = [
        Figure(
            name=name, value=float(np.mean([results[key] for results in report[of].values()])), unit="", goal=goal,
            at_most=at_most, command=COMMAND,
        )
        for name, of, key, goal, at_most in FIGURES
    ]  # fmt: skip
    lines = (ROOT / "experiments" / "real" / "ludb.yaml").read_text(encoding="utf-8").splitlines()
    return [*figures, Figure(name="real.yaml_lines", value=len(lines), unit="", goal=12, at_most=True, command=COMMAND)]
