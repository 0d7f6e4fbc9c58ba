"""Environment of a run: versions, source code, command line and hardware."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from time import time
from typing import Any

import torch
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from polyclinic.system.running_command import running_words
from polyclinic.system.shell import command_line
from polyclinic.tracking.entries import Metrics
from polyclinic.tracking.uri import without_password

_DISTRIBUTIONS = (
    "polyclinic", "torch", "torchvision", "lightning", "mlflow", "jsonargparse", "numpy", "pandas", "scipy",
    "scikit-learn", "torchmetrics", "monai", "transformers", "timm", "peft", "tokenizers", "safetensors", "pydicom",
    "wfdb", "ecgdatakit", "soundfile",
)  # fmt: skip
_CODE_PATTERNS = ("*.py", "*.yaml", "*.yml", "*.toml")
_MAX_DIFF_CHARACTERS = 500_000
_OMITTED = ("--trainer.logger", "--json")
_MAX_COMMAND_CHARACTERS = 500
_NO_HELPERS = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")


def describe_environment(folder: Path) -> dict[str, Any]:
    """Return the facts needed to repeat the run, as plain JSON values.

    Args:
        folder: folder whose git checkout is recorded, if it is in one.
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cuda": torch.version.cuda,
        "cpus": os.cpu_count(),
        "packages": _versions(_DISTRIBUTIONS),
        "git": describe_checkout(folder),
        "command": [_shortened(word) for word in running_words()],
    }


def describe_checkout(folder: Path) -> dict[str, Any] | None:
    """Return the commit, whether the checkout is dirty, and the diff of code and configuration; None outside git.

    The diff omits other files, because a tracked table may hold patient data.
    """
    if _git(folder, "rev-parse", "--show-toplevel") is None:
        return None
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    diff = without_password(
        _git(folder, "diff", *_NO_HELPERS, "HEAD", "--", *(f":(top,glob)**/{pattern}" for pattern in _CODE_PATTERNS))
        or ""
    )
    if len(diff) > _MAX_DIFF_CHARACTERS:
        diff = f"omitted: {len(diff)} characters; commit the work to make the run repeatable"
    return {
        "commit": commit.strip() if commit else None,
        "dirty": bool(_git(folder, "status", "--porcelain", "--ignore-submodules=dirty")),
        "diff": diff,
    }


def commit_of(folder: Path) -> str | None:
    """Return the commit of a checkout, with "+" if it is dirty; None outside git or before the first commit."""
    checkout = describe_checkout(folder)
    if checkout is None or checkout["commit"] is None:
        return None
    return f"{checkout['commit']}{'+' if checkout['dirty'] else ''}"


def short_command(words: Sequence[object] = ()) -> str:
    """Return a command without passwords and options on where results go, and with the last part of its paths.

    MLflow's UI shows what follows the last slash, and folders may have private names; ``environment.json`` holds the
    command in full.

    Args:
        words: words of the command; those of the running one unless set.
    """
    plain = [without_password(str(word)) for word in words or running_words()]
    short = [
        _last_part(word)
        for before, word in pairwise(["", *plain])
        if not (word.startswith(_OMITTED) or (before.startswith(_OMITTED) and "=" not in before))
    ]
    return command_line(*short)[:_MAX_COMMAND_CHARACTERS]


def _last_part(word: str) -> str:
    option, equals, value = word.partition("=")
    return f"{option}{equals}{value.rpartition('/')[2]}" if equals else word.rpartition("/")[2]


def _versions(distributions: Sequence[str]) -> dict[str, str]:
    versions: dict[str, str] = {}
    for name in distributions:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _shortened(word: str) -> str:
    """Return a command-line word without the home folder and without passwords."""
    return without_password(word).replace(str(Path.home()), "~")


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git, or None if it fails or is not installed.

    A checkout's configuration may name programs for git to run (filters, hooks, file monitors); all are disabled.
    """
    listed = _run_git(folder, {}, "config", "--name-only", "--get-regexp", r"^filter\.")
    filters = [name for name in (listed or "").splitlines() if name.endswith((".clean", ".process", ".required"))]
    off = {"core.fsmonitor": "false", "core.hooksPath": os.devnull, **dict.fromkeys(filters, "")}
    return _run_git(folder, off, *arguments)


def _run_git(folder: Path, settings: Mapping[str, str], *arguments: str) -> str | None:
    """Run git with settings in its environment: as ``-c name=value``, a name with "=" would be cut."""
    program = shutil.which("git")
    if program is None:
        return None
    environment = {**os.environ, "GIT_CONFIG_COUNT": str(len(settings))}
    for index, (name, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{index}": name, f"GIT_CONFIG_VALUE_{index}": value}
    words = [program, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=30, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def system_sampler() -> Callable[[], Metrics]:
    """Return a function that samples processor, memory and, with NVML, GPUs; its steps count from zero."""
    monitors: list[BaseMetricsMonitor] = []
    for kind in (CPUMonitor, GPUMonitor):
        try:
            monitors.append(kind())
        except (ImportError, RuntimeError):  # no NVML or no GPU
            continue
    step = 0

    def sample() -> Metrics:
        nonlocal step
        values = _measure(monitors, step)
        step += 1
        return values

    return sample


def _measure(monitors: Sequence[BaseMetricsMonitor], step: int) -> Metrics:
    now, values = int(time() * 1000), {}
    for monitor in monitors:
        monitor.collect_metrics()
        values.update(monitor.aggregate_metrics())
        monitor.clear_metrics()
    return Metrics(tuple((f"system/{name}", float(value), now, step) for name, value in values.items()))
