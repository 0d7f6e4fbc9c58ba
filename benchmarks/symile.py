"""Symile with all negatives: time and memory of a forward and backward pass, against the published algorithm.

Each side is measured in a separate process, so that neither inherits memory or threads from the other.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import Figure
from benchmarks.published_symile import published_symile
from polyclinic.objectives import Symile

COMMAND = "python -m benchmarks symile"
SCALE = 5.0
REPEATS = {256: 5, 280: 1, 1024: 1}
"""Passes by batch size; the median is reported. The large ones take long enough to be timed once."""


def measure() -> list[Figure]:
    """Measure two sizes against the published algorithm, a larger one alone, and the share of the matmul rate."""
    largest = _in_a_process("tiled", 1024, 256)
    small, large = ({kind: _in_a_process(kind, *size) for kind in RUNS} for size in ((256, 512), (280, 8192)))
    figures = [
        ("symile.speedup_256x512", small["published"]["seconds"] / small["tiled"]["seconds"], "x", 12.0, False),
        ("symile.memory_ratio_256x512", small["published"]["mb"] / small["tiled"]["mb"], "x", 40.0, False),
        ("symile.speedup_280x8192", large["published"]["seconds"] / large["tiled"]["seconds"], "x", 5.0, False),
        ("symile.peak_mb_280x8192", large["tiled"]["whole_mb"], "MB", 1024.0, True),
        ("symile.matmul_share", small["tiled"]["matmul_share"], "", 0.5, False),
        ("symile.matmul_share_280x8192", large["tiled"]["matmul_share"], "", 0.5, False),
    ]
    reported = [
        (f"symile.{kind}_{what}_{name}", run[what], unit, None, False)
        for name, runs in (("256x512", small), ("280x8192", large), ("1024x256", {"tiled": largest}))
        for kind, run in runs.items()
        for what, unit in (("seconds", "s"), ("mb", "MB"))
    ]
    return [
        Figure(name=name, value=value, unit=unit, goal=goal, at_most=at_most, command=COMMAND)
        for name, value, unit, goal, at_most in (*figures, *reported)
    ]


def _in_a_process(kind: str, rows: int, width: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.symile", kind, str(rows), str(width)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        # Most likely out of memory: 280 x 8192 took the published algorithm 23 GB.
        return {"seconds": float("nan"), "mb": float("nan")}
    measured: dict[str, float] = json.loads(finished.stdout)
    return measured


def _tiled(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    objective = Symile(initial_scale=SCALE)
    loss: Tensor = objective({"x": x, "y": y, "z": z})
    return loss


def _published(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the published loss on normalised embeddings with the same scale, so that both losses are equal."""
    scale = torch.nn.Parameter(torch.tensor(SCALE / x.shape[1]))
    x, y, z = (value / value.square().mean(1, keepdim=True).sqrt() for value in (x, y, z))
    return published_symile(x, y, z, scale)


RUNS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"tiled": _tiled, "published": _published}


def _measure_here(kind: str, rows: int, width: int) -> dict[str, float]:
    """Measure one size, after a small warm-up pass."""
    _pass(kind, rows=8, width=16)
    before = _forget_peak_mb()
    seconds = statistics.median(_pass(kind, rows=rows, width=width) for _ in range(REPEATS[rows]))
    peak = _peak_mb()
    share = 8 * rows**3 * width / seconds / _matmul_rate()
    return {"seconds": seconds, "mb": peak - before, "whole_mb": peak, "matmul_share": share}


def _pass(kind: str, *, rows: int, width: int) -> float:
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(rows, width, generator=generator).requires_grad_() for _ in range(3)]
    started = time.perf_counter()
    RUNS[kind](*inputs).backward()
    return time.perf_counter() - started


def _matmul_rate() -> float:
    """Return the operations per second of the fastest of ten products of two 2048 x 2048 matrices."""
    matrix = torch.randn(2048, 2048)
    times = []
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(times)


def _forget_peak_mb() -> float:
    """Reset the peak memory of this process to its current use (Linux: proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_here(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
