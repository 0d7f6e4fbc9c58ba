"""Number of failures in ten runs of the tests that start processes, beside four busy processes.

Four tests run at a time: the load is higher for each, and ten runs take hours less. ``POLYCLINIC_FLAKE_RUNS`` sets
another number of runs, ``POLYCLINIC_FLAKE_TESTS`` another marker expression.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from benchmarks.measure import Figure

COMMAND = "python -m benchmarks flakes"
RUNS, TESTS = "POLYCLINIC_FLAKE_RUNS", "POLYCLINIC_FLAKE_TESTS"
BUSY_PROCESSES, TESTS_AT_A_TIME, SECONDS_OF_A_TEST = 4, 4, 1200


def measure() -> list[Figure]:
    """Run the tests repeatedly and print those that failed."""
    runs, tests = int(os.environ.get(RUNS, "10")), os.environ.get(TESTS, "processes")
    with _busy_processes():
        failed = sum(_fails(tests, place) for place in range(1, runs + 1))
    return [
        Figure(name="suite.flakes", value=failed, unit=f"of {runs} runs", command=COMMAND, goal=0, at_most=True)
    ]  # fmt: skip


@contextmanager
def _busy_processes() -> Iterator[None]:
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(BUSY_PROCESSES)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _fails(tests: str, place: int) -> bool:
    parallel = ["-n", str(TESTS_AT_A_TIME), "--dist", "worksteal"]
    command = [sys.executable, "-m", "pytest", "-q", *parallel, "-m", tests, "-o", f"timeout={SECONDS_OF_A_TEST}"]
    wide = {**os.environ, "COLUMNS": "300"}  # so that pytest does not cut the reason of a failure
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=wide)
    failures = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    Console().print(f"run {place}: exit code {ran.returncode}", *failures, sep="\n", markup=False, soft_wrap=True)
    if ran.returncode != 0 and not failures:
        reason = (ran.stderr or ran.stdout).strip().rpartition("\n")[2]
        raise ValueError(
            f"got exit code {ran.returncode} of pytest without a failed test ({reason}); run `make lint` first"
        )
    return ran.returncode != 0
