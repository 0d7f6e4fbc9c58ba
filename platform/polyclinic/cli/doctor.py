"""``polyclinic modalities`` and ``polyclinic doctor``: report on the installation."""

import inspect
import os
import platform
import socket
import sqlite3
from collections.abc import Iterable, Iterator
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
_CONNECT_TIMEOUT = 1.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
_MISSING = "[red]missing[/red]"


def modalities() -> None:
    """List the plugins installed here, with their settings: polyclinic modalities"""
    console = Console(markup=True)
    points = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    table = Table("name", "class", "settings")
    for name, plugin in installed_modalities().items():
        table.add_row(name, points[name], ", ".join(inspect.signature(plugin).parameters))
    console.print(table)
    console.print("next: polyclinic cohort phantom demo/cohort")


def doctor() -> None:
    """Report on this machine and its installation: polyclinic doctor

    Shown are versions, decoders, devices, the tracking address and offline settings, and what is missing.
    """
    console = Console(markup=True)
    lacking: list[str] = []
    table = Table("item", "found")
    for rows in (_libraries(lacking), _decoders(lacking), _devices(), _tracking(), _offline()):
        for row in rows:
            table.add_row(*row)
        table.add_section()
    console.print(table)
    command = ("pip", "install", *dict.fromkeys(lacking)) if lacking else ("polyclinic", "modalities")
    console.print(f"next: {command_line(*command)}", soft_wrap=True, markup=False)


def _libraries(lacking: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the required distributions, and torchvision if it needs another torch, which would break its import."""
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
    """Return the requirements of a distribution, without extras."""
    try:
        stated = requires(distribution) or []
    except PackageNotFoundError:
        return []
    wanted = map(Requirement, stated)
    return [entry for entry in wanted if entry.marker is None or entry.marker.evaluate({"extra": ""})]


def _installed(wanted: Requirement) -> tuple[str, bool]:
    """Return the installed version, empty if there is none, and whether it satisfies the requirement."""
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return "", False
    return found, wanted.specifier.contains(found, prereleases=True)


def _plain(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def _decoders(lacking: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the decoders of all plugins, or the reason why the plugins cannot be loaded."""
    try:
        plugins = installed_modalities()
    except Exception as error:  # any error of a plugin's libraries; the other rows must still be shown
        yield "plugins", f"[red]cannot be loaded: {type(error).__name__}: {error}[/red]"
        return
    for name, plugin in plugins.items():
        for file_format, (distribution, installed) in plugin.decoders().items():
            if not installed:
                lacking.append(distribution)
            yield f"{name}: {file_format}", f"{distribution} {installed or _MISSING}"


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
    """Yield the tracking address of a run started here, and whether it is usable."""
    uri = resolve_uri(given=None, out=_OUT)
    yield "tracking", without_password(uri)
    yield "tracking now", _database(path) if (path := database_file(uri)) is not None else _server(uri)


def _database(path: Path) -> str:
    if not path.exists():
        above = next(folder for folder in path.parents if folder.exists())
        return "created by the first run" if os.access(above, os.W_OK) else "[red]its folder cannot be written[/red]"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        return f"[red]{error}[/red]"
    return "ready" if os.access(path, os.W_OK) else "[red]cannot be written[/red]"


def _server(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme not in _DEFAULT_PORTS or parts.hostname is None:
        return "not checked"
    try:
        socket.create_connection(
            (parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]), timeout=_CONNECT_TIMEOUT
        ).close()
    except OSError as error:
        return f"[red]does not answer: {error}[/red]"
    return "answers"


def _offline() -> Iterator[tuple[str, str]]:
    for name in _OFFLINE_VARIABLES:
        yield name, os.environ.get(name, "not set")
