"""First contact: seconds until Python and the command answer, megabytes to install, words to read."""

import os
import resource
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.measure import Figure
from polyclinic.cli.commands import COMMANDS

ROOT = Path(__file__).parent.parent
COMMAND = "python -m benchmarks first"
RUNS = 5
MEGABYTE = 1_000_000
CUDA = ("nvidia-", "cuda-", "triton")
"""Starts of the names of distributions that torch requires only where it is built for CUDA."""


def measure() -> list[Figure]:
    """Time the import and the helps, and add up the files of what ``pyproject.toml`` requires."""
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    return [
        *_seconds_to_answer(),
        *_megabytes_to_install(),
        Figure(name="first.readme_words", value=words, unit="words", goal=600, at_most=True, command=COMMAND),
    ]


def _seconds_to_answer() -> list[Figure]:
    # Python writes its bytecode the first time.
    for words in (["-c", "import polyclinic"], ["-m", "polyclinic", "--help"]):
        _seconds(words)
    imports = [_seconds(["-c", "import polyclinic"]) for _ in range(RUNS)]
    slowest = max(_seconds_of_help(name) for name in COMMANDS)
    wall, cpu = (median(values) for values in zip(*imports, strict=True))
    seconds = {
        "first.import_seconds": (wall, 0.5),
        "first.import_cpu_seconds": (cpu, None),
        "first.help_seconds": (_seconds_of_help(""), 0.3),
        "cli.help_seconds": (slowest, 1.0),
    }
    return [
        Figure(name=name, value=value, unit="s", goal=goal, at_most=True, command=COMMAND)
        for name, (value, goal) in seconds.items()
    ]


def _seconds_of_help(command: str) -> float:
    return median(_seconds(["-m", "polyclinic", *command.split(), "--help"])[0] for _ in range(RUNS))


def _megabytes_to_install() -> list[Figure]:
    scoring = installed_closure(())
    without_cuda = [each for each in scoring if not canonicalize_name(each.name).startswith(CUDA)]
    sizes = {
        "first.score_only_install_mb": scoring,
        "first.full_install_mb": installed_closure(("all",)),
        "first.score_only_without_cuda_mb": without_cuda,
    }
    return [Figure(name=name, value=megabytes(each), unit="MB", command=COMMAND) for name, each in sizes.items()]


def stated_requirements(extras: Iterable[str]) -> list[Requirement]:
    """Return the requirements in ``pyproject.toml`` of a plain installation and of some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"]]
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def installed_closure(extras: Sequence[str]) -> list[Distribution]:
    """Return the installed distributions that polyclinic needs directly or indirectly, without polyclinic.

    Args:
        extras: extras of polyclinic to include. A distribution that is not installed here is left out.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = _with_extras(stated_requirements(extras))
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name == "polyclinic":
            waiting += _with_extras(stated_requirements([extra] if extra else []))
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        stated = map(Requirement, found[name].requires or ())
        waiting += _with_extras(
            each for each in stated if each.marker is None or each.marker.evaluate({"extra": extra})
        )
    return list(found.values())


def _with_extras(requirements: Iterable[Requirement]) -> list[tuple[str, str]]:
    """Return the names of distributions with "" and with each extra that is required of them."""
    return [(canonicalize_name(each.name), extra) for each in requirements for extra in ("", *each.extras)]


def megabytes(distributions: Iterable[Distribution]) -> float:
    """Return the size of the files that distributions record, without bytecode, whose size is not recorded."""
    return sum(file.size or 0 for each in distributions for file in each.files or ()) / MEGABYTE


def _seconds(words: Sequence[str]) -> tuple[float, float]:
    """Return the wall and processor seconds of a new interpreter."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
