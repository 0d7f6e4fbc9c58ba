"""Modules that take the names of libraries and leave a mark where they are imported."""

import sys
from collections.abc import Collection
from importlib.metadata import packages_distributions
from pathlib import Path

STARTING = {
    "collections", "contextlib", "functools", "importlib", "keyword", "operator", "polyclinic", "reprlib", "types",
    "warnings",
}  # fmt: skip
"""What ``python -m`` imports from the working folder before the first line of the program, unless it gets ``-P``."""

_OURS = {
    "polyclinic",
    "polyclinic_xray",
    "polyclinic_ecg",
    "polyclinic_report",
    "polyclinic_audio",
    "polyclinic_tabular",
    "polyclinic_timeline",
    "polyclinic_volume",
    "polyclinic_dicom",
    "polyclinic_monai",
}
_CODE = "from pathlib import Path\nPath(__file__ + '.ran').touch()\n"


def plant(folder: Path, *, without: Collection[str] = ()) -> None:
    """Write a module into a folder for every installed library and module of Python."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {*packages_distributions(), *sys.stdlib_module_names, *_OURS, "sitecustomize", "usercustomize"}
    for name in names - set(without):
        if name.isidentifier():
            (folder / f"{name}.py").write_text(_CODE)


def ran(folder: Path) -> list[str]:
    """Return the names of the planted modules that were imported."""
    return sorted(path.name.removesuffix(".py.ran") for path in folder.glob("*.ran"))
