"""Processes that find only the libraries of a plain installation of polyclinic, or of one with some extras."""

import os
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

from benchmarks.first import installed_closure
from packaging.utils import canonicalize_name

_FINDER = """import sys

REFUSED = {refused}


class WithoutRefused:
    def __init__(self, finder):
        self._finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in REFUSED else self._finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self._finder, name)


sys.meta_path[:] = map(WithoutRefused, sys.meta_path)
"""


def environment(folder: Path, *extras: str) -> dict[str, str]:
    """Return variables with which Python, and what it starts, refuse every library that the installation lacks.

    Args:
        folder: new folder for the module that Python imports when it starts.
        extras: extras that are installed.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_FINDER.format(refused=_refused(extras)))
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _refused(extras: Sequence[str]) -> set[str]:
    """Return the top-level modules of the installed distributions that the installation lacks."""
    there = {"polyclinic", *(canonicalize_name(each.name) for each in installed_closure(extras))}
    return {
        module
        for module, owners in packages_distributions().items()
        if there.isdisjoint(map(canonicalize_name, owners))
    }
