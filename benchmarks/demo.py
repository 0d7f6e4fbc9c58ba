"""Time of `make demo` from an empty folder, and the figures that it reports."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import Figure

OUT = Path("bench/demo")
COMMAND = "make demo"


def measure() -> list[Figure]:
    """Run the demo once and return the figures of its report."""
    shutil.rmtree(OUT, ignore_errors=True)
    started = time.monotonic()
    subprocess.run([sys.executable, "-P", "-m", "polyclinic", "demo", "--out", str(OUT)], check=True)
    seconds = time.monotonic() - started
    report = json.loads((OUT / "report.json").read_text(encoding="utf-8"))
    joint = report["joint_only"]
    macro, ceiling = report["zeroshot"]["macro_auroc"], report["zeroshot"]["supervised_macro_auroc"]
    figures = [
        ("demo.zeroshot_macro_auroc", macro, 0.85),
        ("demo.supervised_macro_auroc", ceiling, None),
        ("demo.joint_only_symile_auroc", joint["symile_auroc"], 0.85),
        ("demo.joint_only_margin", joint["symile_auroc"] - joint["clip_auroc"], 0.20),
        ("demo.retrieval_top1", report["retrieval"]["top1"], 0.5),
    ]
    timed = Figure(name="first.demo_seconds", value=seconds, unit="s", goal=240, at_most=True, command=COMMAND)
    return [timed, *(Figure(name=n, value=v, unit="", goal=g, command=COMMAND) for n, v, g in figures)]
