"""``polyclinic modalities`` and ``polyclinic doctor``: what is installed here."""

import inspect
import os
import platform
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from urllib.parse import urlsplit

import torch
from packaging.requirements import Requirement
from rich.table import Table

from polyclinic import __version__
from polyclinic.modality import ENTRY_POINTS, installed_modalities
from polyclinic.system.shell import command_line
from polyclinic.system.terminal import Console
from polyclinic.tracking.uri import database_file, resolve_uri, without_password

_OUT = Path("runs")
_KNOCK_SECONDS = 1.0
_PORTS = {"http": 80, "https": 443}
_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
_MISSING = "[red]missing[/red]"


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


def doctor(console: Console) -> None:
    """Show versions, decoders, devices, the tracking address and what is switched offline; say what is missing."""
    lacking: list[str] = []
    table = Table("what", "found")
    for rows in (_libraries(lacking), _decoders(lacking), _devices(), _tracking(), _offline()):
        for what, found in rows:
            table.add_row(what, found)
        table.add_section()
    console.print(table)
    following = ("pip", "install", *dict.fromkeys(lacking)) if lacking else ("polyclinic", "modalities")
    console.print(f"next: {command_line(*following)}", soft_wrap=True, markup=False)


def _libraries(lacking: list[str]) -> Iterator[tuple[str, str]]:
    """What the distribution requires, and torchvision's own demand on torch, which breaks an import when it fails."""
    yield "polyclinic", __version__
    yield "python", platform.python_version()
    for wanted in _requirements("polyclinic"):
        found, fits = _installed(wanted)
        if not fits:
            lacking.append(_plain(wanted))
        yield wanted.name, found if fits else f"{found}, expected {wanted.specifier}" if found else _MISSING
    for wanted in _requirements("torchvision"):
        if wanted.name == "torch" and not _installed(wanted)[1]:
            lacking.append(_plain(wanted))
            yield "torchvision", f"[red]made for torch {wanted.specifier}[/red]"


def _requirements(distribution: str) -> Iterable[Requirement]:
    """Without those of optional parts."""
    try:
        stated = requires(distribution) or []
    except PackageNotFoundError:
        return []
    wanted = map(Requirement, stated)
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _installed(wanted: Requirement) -> tuple[str, bool]:
    """The version that is there, empty without one, and whether it is one of those wanted."""
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return "", False
    return found, wanted.specifier.contains(found, prereleases=True)


def _plain(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def _decoders(lacking: list[str]) -> Iterator[tuple[str, str]]:
    """Of every plugin; one that cannot be loaded says why."""
    try:
        plugins = installed_modalities()
    except Exception as error:  # whatever a plugin's libraries raise, the rest of the table is still wanted
        yield "plugins", f"[red]cannot be loaded: {type(error).__name__}: {error}[/red]"
        return
    for name, plugin in plugins.items():
        for stored, (distribution, here) in plugin.decoders().items():
            if not here:
                lacking.append(distribution)
            yield f"{name}: {stored}", f"{distribution} {here}" if here else f"{distribution} {_MISSING}"


def _devices() -> Iterator[tuple[str, str]]:
    yield "processors", f"{os.cpu_count()}, of which torch uses {torch.get_num_threads()}"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"accelerator {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield "accelerator", "MPS"
    elif not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        yield "accelerator", f"none ({built})"


def _tracking() -> Iterator[tuple[str, str]]:
    """Where a run started here would be tracked, and whether that can be used."""
    uri = resolve_uri(given=None, out=_OUT)
    yield "tracking", without_password(uri)
    yield "tracking now", _database(path) if (path := database_file(uri)) is not None else _server(uri)


def _database(path: Path) -> str:
    if not path.exists():
        above = next(folder for folder in path.parents if folder.exists())
        return "made by the first run" if os.access(above, os.W_OK) else "[red]its folder cannot be written[/red]"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        return f"[red]{error}[/red]"
    return "ready" if os.access(path, os.W_OK) else "[red]cannot be written[/red]"


def _server(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in _PORTS or parts.hostname is None:
        return "not looked at"
    try:
        socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), timeout=_KNOCK_SECONDS).close()
    except OSError as error:
        return f"[red]does not answer: {error}[/red]"
    return "answers"


def _offline() -> Iterator[tuple[str, str]]:
    for name in _SWITCHES:
        yield name, os.environ.get(name, "not set")


COMMANDS = {"modalities": modalities, "doctor": doctor}
