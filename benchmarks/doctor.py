"""Time of `polyclinic doctor` in a separate process: the fastest of three runs."""

import subprocess
import sys
import time

from benchmarks.measure import Figure

RUNS = 3


def measure() -> list[Figure]:
    """Time the command in the way that a user starts it."""
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "polyclinic.cli", "doctor"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return [
        Figure(
            name="doctor.seconds", value=min(seconds), unit="s", goal=5, at_most=True,
            command="python -m benchmarks doctor",
        )
    ]  # fmt: skip
