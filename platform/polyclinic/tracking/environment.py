"""The environment of a run: versions, source code, command line and hardware."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import time
from typing import Any

import torch
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from polyclinic.tracking.entries import Metrics
from polyclinic.tracking.uri import without_password

_DISTRIBUTIONS = (
    "polyclinic", "torch", "torchvision", "lightning", "mlflow", "jsonargparse", "numpy", "pandas", "scipy",
    "scikit-learn", "torchmetrics", "monai", "transformers", "timm", "peft", "tokenizers", "safetensors", "pydicom",
    "wfdb", "soundfile",
)  # fmt: skip
_CODE = ("*.py", "*.yaml", "*.yml", "*.toml")
_LONGEST_DIFF = 500_000
_UNAIDED = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")


def describe_environment(folder: Path) -> dict[str, Any]:
    """Facts for a repeat of the run, as plain JSON values.

    Args:
        folder: whose git checkout is recorded, if it is in one.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cuda": torch.version.cuda,
        "cpus": os.cpu_count(),
        "packages": _versions(_DISTRIBUTIONS),
        "git": describe_checkout(folder),
        "command": [_shortened(word) for word in sys.argv],
    }


def describe_checkout(folder: Path) -> dict[str, Any] | None:
    """Commit, whether anything differs from it, and the difference in code and configuration; None outside git.

    Other files are left out of the difference, because a tracked table may hold patients.
    """
    if _git(folder, "rev-parse", "--show-toplevel") is None:
        return None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    diff = without_password(
        _git(folder, "diff", *_UNAIDED, "HEAD", "--", *(f":(top,glob)**/{one}" for one in _CODE)) or ""
    )
    if len(diff) > _LONGEST_DIFF:
        diff = f"left out: {len(diff)} characters; commit the work to make the run repeatable"
    return {
        "commit": commit.strip() if commit else None,
        "dirty": bool(_git(folder, "status", "--porcelain", "--ignore-submodules=dirty")),
        "diff": diff,
    }


def commit_of(folder: Path) -> str | None:
    """The commit of a checkout, with "+" where anything differs from it; None outside git or before the first one."""
    checkout = describe_checkout(folder)
    if checkout is None or checkout["commit"] is None:
        return None
    return f"{checkout['commit']}{'+' if checkout['dirty'] else ''}"


def _versions(distributions: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _shortened(word: str) -> str:
    """A word of the command line without the user's home folder and without passwords."""
    return without_password(word).replace(str(Path.home()), "~")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is not installed.

    The configuration of a checkout may name programs that git runs to look at it. None of them is run.
    """
    listed = _run_git(folder, {}, "config", "--name-only", "--get-regexp", r"^filter\.")
    filters = [name for name in (listed or "").splitlines() if name.endswith((".clean", ".process", ".required"))]
    off = {"core.fsmonitor": "false", "core.hooksPath": os.devnull, **dict.fromkeys(filters, "")}
    return _run_git(folder, off, *arguments)


def _run_git(folder: Path, settings: Mapping[str, str], *arguments: str) -> str | None:
    """With settings in the environment, as a name in a word of the command line could hold its end."""
    program = shutil.which("git")
    if program is None:
        return None
    known = {**os.environ, "GIT_CONFIG_COUNT": str(len(settings))}
    for place, (name, value) in enumerate(settings.items()):
        known |= {f"GIT_CONFIG_KEY_{place}": name, f"GIT_CONFIG_VALUE_{place}": value}
    words = [program, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=30, env=known)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def system_sampler() -> Callable[[], Metrics]:
    """A function that measures processor, memory and, where NVML is installed, GPUs; its steps count from zero."""
    monitors: list[BaseMetricsMonitor] = []
    for kind in (CPUMonitor, GPUMonitor):
        try:
            monitors.append(kind())
        except (ImportError, RuntimeError):  # no NVML, or no GPU behind it
            continue
    taken = 0

    def sample() -> Metrics:
        nonlocal taken
        values = _measured(monitors, taken)
        taken += 1
        return values

    return sample


def _measured(monitors: Sequence[BaseMetricsMonitor], step: int) -> Metrics:
    now, found = int(time() * 1000), {}
    for monitor in monitors:
        monitor.collect_metrics()
        found.update(monitor.aggregate_metrics())
        monitor.clear_metrics()
    return Metrics(tuple((f"system/{name}", float(value), now, step) for name, value in found.items()))
