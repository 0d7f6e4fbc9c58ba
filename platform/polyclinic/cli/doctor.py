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
from rich.markup import escape
from rich.table import Table

from polyclinic import __version__
from polyclinic.modality import ENTRY_POINTS, installed_modalities
from polyclinic.system.extras import EXTRAS, absent_modules
from polyclinic.system.shell import command_line, print_next
from polyclinic.system.terminal import Console, remark
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
    print_next("polyclinic", "cohort", "phantom", "demo/cohort")


def doctor() -> None:
    """Report on this machine and its installation: polyclinic doctor

    The first line is the verdict. Then versions, extras, decoders, devices, the tracking address and offline settings
    are shown, and what is missing.
    """
    console = Console(markup=True)
    problems = _Problems()
    table = Table("item", "found")
    for rows in (_libraries(problems), _extras(problems), _decoders(problems), _devices(), _tracking(problems)):
        _add_section(table, rows)
    _add_section(table, _offline())
    console.print(_verdict(problems), soft_wrap=True, markup=False, highlight=False)
    console.print(table)
    remark(f"next: {problems.command or 'polyclinic modalities'}")


class _Problems:
    """What would make a command fail, and the requirements that are to be installed."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self._lacking: list[str] = []

    def add(self, reason: str, *, requirement: str = "") -> None:
        self.reasons.append(reason)
        if requirement and requirement not in self._lacking:
            self._lacking.append(requirement)

    @property
    def command(self) -> str:
        """The command that repairs the installation; empty if nothing is to be installed."""
        return command_line("pip", "install", *self._lacking) if self._lacking else ""


def _add_section(table: Table, rows: Iterable[tuple[str, str]]) -> None:
    for row in rows:
        table.add_row(*row)
    table.add_section()


def _verdict(problems: _Problems) -> str:
    """Return the line that says whether commands will work here, and which extras they have."""
    if problems.reasons:
        first, *others = problems.reasons
        more = f", and {len(others)} more" if others else ""
        return f"not ready: {first}{more}" + (f"; run {problems.command}" if problems.command else "")
    installed = {name: not absent_modules(name) for name in EXTRAS}
    ready = ["scoring", *(EXTRAS[name].purpose for name, there in installed.items() if there)]
    absent = [EXTRAS[name].purpose for name, there in installed.items() if not there]
    return f"ready: {', '.join(ready)}" + (f"; not installed: {', '.join(absent)}" if absent else "")


def _libraries(problems: _Problems) -> Iterator[tuple[str, str]]:
    """Yield the required distributions, and torchvision if it needs another torch, which would break its import."""
    yield "polyclinic", __version__
    yield "python", platform.python_version()
    yield from _versions(_requirements("polyclinic"), problems)
    for wanted in _requirements("torchvision"):
        if wanted.name == "torch" and not _installed(wanted)[1]:
            problems.add(f"torchvision is made for torch {wanted.specifier}", requirement=_plain(wanted))
            yield "torchvision", f"[red]made for torch {wanted.specifier}[/red]"


def _extras(problems: _Problems) -> Iterator[tuple[str, str]]:
    """Yield the distributions of the extras that are installed, and what the others are needed for."""
    shown: set[str] = set()
    for name, extra in EXTRAS.items():
        if absent := absent_modules(name):
            command = command_line("pip", "install", f"polyclinic[{name}]")
            yield f"extra {name}", f"no {absent[0]}, needed for {extra.purpose}: {escape(command)}"
        else:
            yield f"extra {name}", "installed"
            # An extra that includes another one states the requirements of both.
            further = [each for each in _requirements("polyclinic", extra=name) if each.name not in shown]
            shown |= {each.name for each in further}
            yield from _versions(further, problems)


def _versions(requirements: Iterable[Requirement], problems: _Problems) -> Iterator[tuple[str, str]]:
    """Yield the installed version of each requirement, and note those that do not satisfy it."""
    for wanted in requirements:
        found, fits = _installed(wanted)
        if not fits:
            problem = f"{wanted.name} {found} is installed, expected {wanted.specifier}"
            problems.add(problem if found else f"{wanted.name} is missing", requirement=_plain(wanted))
        yield wanted.name, found if fits else f"{found}, expected {wanted.specifier}" if found else _MISSING


def _requirements(distribution: str, *, extra: str = "") -> Iterable[Requirement]:
    """Return the requirements of a distribution, or those that one of its extras adds."""
    try:
        stated = requires(distribution) or []
    except PackageNotFoundError:
        return []
    wanted = [entry for entry in map(Requirement, stated) if entry.name != distribution]
    return [entry for entry in wanted if _applies(entry, extra) and not (extra and _applies(entry, ""))]


def _applies(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _installed(wanted: Requirement) -> tuple[str, bool]:
    """Return the installed version, empty if there is none, and whether it satisfies the requirement."""
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return "", False
    return found, wanted.specifier.contains(found, prereleases=True)


def _plain(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def _decoders(problems: _Problems) -> Iterator[tuple[str, str]]:
    """Yield the decoders of all plugins, or the reason why the plugins cannot be loaded."""
    try:
        plugins = installed_modalities()
    except Exception as error:  # any error of a plugin's libraries; the other rows must still be shown
        problems.add(f"the plugins cannot be loaded ({type(error).__name__}: {error})")
        yield "plugins", f"[red]cannot be loaded: {type(error).__name__}: {error}[/red]"
        return
    for name, plugin in plugins.items():
        for file_format, (distribution, installed) in plugin.decoders().items():
            if not installed:
                problems.add(f"{distribution} is missing, which decodes {file_format}", requirement=distribution)
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


def _tracking(problems: _Problems) -> Iterator[tuple[str, str]]:
    """Yield the tracking address of a run started here, and whether it is usable.

    A server that does not answer is not a problem: a run keeps its entries until it does.
    """
    uri = resolve_uri(given=None, out=_OUT)
    yield "tracking", without_password(uri)
    if (path := database_file(uri)) is None:
        yield "tracking now", _server(uri)
        return
    state, usable = _database(path)
    if not usable:
        problems.add(f"the tracking database {state}; set MLFLOW_TRACKING_URI, or work in another folder")
    yield "tracking now", state if usable else f"[red]{state}[/red]"


def _database(path: Path) -> tuple[str, bool]:
    """Return the state of a database, and whether a run can use it."""
    if not path.exists():
        above = next(folder for folder in path.parents if folder.exists())
        writable = os.access(above, os.W_OK)
        return "will be created by the first run" if writable else "is in a folder that cannot be written", writable
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        return f"cannot be read: {error}", False
    writable = os.access(path, os.W_OK)
    return "ready" if writable else "cannot be written", writable


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
