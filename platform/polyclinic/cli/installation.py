"""``polyclinic modalities`` and ``polyclinic doctor``: what is installed here."""

import inspect
from collections.abc import Sequence
from importlib.metadata import entry_points

from rich.table import Table

from polyclinic.cli.doctor import doctor
from polyclinic.modality import ENTRY_POINTS, installed_modalities
from polyclinic.system.terminal import Console


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
        COMMANDS[command](Console(markup=True))


def modalities(console: Console) -> None:
    """List the plugins installed here, with their settings."""
    points = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    table = Table("name", "class", "settings")
    for name, plugin in installed_modalities().items():
        table.add_row(name, points[name], ", ".join(inspect.signature(plugin).parameters))
    console.print(table)
    console.print("next: polyclinic cohort phantom demo/cohort")


COMMANDS = {"modalities": modalities, "doctor": doctor}
