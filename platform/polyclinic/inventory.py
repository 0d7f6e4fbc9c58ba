"""``polyclinic modalities`` and ``polyclinic doctor``: what is installed here."""

import inspect
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version

import torch
from rich.console import Console
from rich.table import Table

from polyclinic import __version__
from polyclinic.modality import ENTRY_POINTS, installed_modalities

_LIBRARIES = ("torch", "torchvision", "lightning", "mlflow", "monai", "transformers", "timm", "pydicom", "wfdb")


def main(argv: Sequence[str]) -> None:
    """Run one of the two commands.

    Raises:
        ValueError: an argument that is not understood.
    """
    command, *rest = argv
    if rest in (["-h"], ["--help"]):
        print(f"usage: polyclinic {command}\n\n{COMMANDS[command].__doc__}")  # noqa: T201
    elif rest:
        raise ValueError(f"polyclinic {command} takes no arguments, got {rest}")
    else:
        COMMANDS[command](Console())


def modalities(console: Console) -> None:
    """List the plugins installed here, with their settings."""
    points = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    table = Table("name", "class", "settings")
    for name, plugin in installed_modalities().items():
        table.add_row(name, points[name], ", ".join(inspect.signature(plugin).parameters))
    console.print(table)
    console.print("next: polyclinic cohort phantom demo/cohort")


def doctor(console: Console) -> None:
    """Show versions and devices, and say what is missing."""
    table = Table("what", "found")
    table.add_row("polyclinic", __version__)
    table.add_row("python", platform.python_version())
    missing = []
    for name in _LIBRARIES:
        try:
            table.add_row(name, version(name))
        except PackageNotFoundError:
            missing.append(name)
            table.add_row(name, "[red]missing[/red]")
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    table.add_row("accelerator", accelerator)
    console.print(table)
    console.print(f"next: pip install {' '.join(missing)}" if missing else "next: polyclinic modalities")


COMMANDS = {"modalities": modalities, "doctor": doctor}
