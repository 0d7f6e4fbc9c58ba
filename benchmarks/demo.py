"""Time of both demos from an empty folder, and the figures that the full one reports."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import Figure

OUT, QUICK_OUT = Path("bench/demo"), Path("bench/demo-quick")
COMMAND, QUICK_COMMAND = "make demo", "polyclinic demo --quick"
_LAST_LINE = "next: open "


def measure() -> list[Figure]:
    """Run each demo once, and return their times and the figures of the full one."""
    quick = Figure(
        name="first.quick_seconds", value=seconds_to_page(), unit="s", goal=60, at_most=True, command=QUICK_COMMAND
    )
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
    return [quick, timed, *(Figure(name=n, value=v, unit="", goal=g, command=COMMAND) for n, v, g in figures)]


def seconds_to_page() -> float:
    """Return the seconds from the start of the short demo to the address of its page."""
    shutil.rmtree(QUICK_OUT, ignore_errors=True)
    started = time.monotonic()
    words = [sys.executable, "-P", "-m", "polyclinic", "demo", "--quick", "--out", str(QUICK_OUT)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        found = any(line.startswith(_LAST_LINE) for line in demo.stdout)
        seconds = time.monotonic() - started
        demo.terminate()
    if not found:
        raise RuntimeError("the short demo ended before its page; see above")
    return seconds
