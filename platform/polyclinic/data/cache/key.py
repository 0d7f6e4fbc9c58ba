"""Keys of the cache of prepared items: content hashes of sources, and everything that ``prepare`` depends on."""

import hashlib
import json
import re
import sys
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from polyclinic import __version__
from polyclinic.cohort.content_index import ContentIndex, source_digest
from polyclinic.files.digest import file_sha256
from polyclinic.modality import Modality, Source, UnreadableSource, settings

_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)
_SHORT = 16


def identity(modality: Modality) -> dict[str, Any]:
    """Everything but the source that an item depends on.

    These are the plugin's class, settings and fitted state, every file of the packages that define the class and
    its bases, the versions of the installed libraries that those files import, and the version of the platform. A
    local module that a plugin imports from outside its own package is not seen.

    Raises:
        ValueError: the class was defined where no file holds its code.
    """
    kind = type(modality)
    files = {name: file for base in kind.__mro__ if not _is_ours(base) for name, file in _files(base).items()}
    return {
        "polyclinic": __version__,
        "plugin": f"{kind.__module__}.{kind.__qualname__}",
        "settings": settings(modality),
        "state": _digest(modality.state()),
        "code": _code(files),
        "libraries": _libraries(files.values()),
    }


def short_name(told: dict[str, Any]) -> str:
    """The name of the folder in which items of one identity are kept."""
    return f"{told['plugin'].rpartition('.')[2]}-{_digest(told)[:_SHORT]}"


@cache
def environment() -> str:
    """SHA-256 over the name and version of every installed distribution.

    A source that could not be read is tried again once this changes: what it lacked may have been a decoder.
    """
    return _digest(sorted(f"{one.name} {one.version}" for one in distributions()))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _is_ours(base: type) -> bool:
    """Whether a class belongs to the platform, which has a version, or to Python."""
    top = base.__module__.partition(".")[0]
    return top == "polyclinic" or (top in sys.stdlib_module_names and top != "__main__")


def _files(base: type) -> dict[str, Path]:
    """Every file of the outermost regular package of a class, or the file of its module, by its relative path."""
    parts = base.__module__.split(".")
    modules: list[ModuleType | None] = [sys.modules.get(".".join(parts[: end + 1])) for end in range(len(parts))]
    for module in modules:
        if module is not None and (file := getattr(module, "__file__", None)):
            root = Path(file).parent if hasattr(module, "__path__") else Path(file)
            paths = [root] if root.is_file() else root.rglob("*")
            found = {
                path.relative_to(root.parent).as_posix(): path
                for path in paths
                if path.is_file() and "__pycache__" not in path.parts
            }
            if found:
                return found
    raise ValueError(
        f"got a plugin {base.__qualname__} whose code is in no file, so that a change of it could not be seen; "
        "move it to a module, or leave out `data.prepared`"
    )


def _code(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _libraries(files: Iterable[Path]) -> dict[str, str]:
    sources = [file.read_bytes() for file in files if file.suffix == ".py"]
    imported = {name.decode() for source in sources for name in _IMPORT.findall(source)}
    owners = _owners()
    named = {owner for name in imported for owner in owners.get(name, ())}
    return {name: found for name in sorted(named) if (found := _version(name))}


@cache
def _owners() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


Name = TypeVar("Name", bound=Hashable)


def content_of(sources: Mapping[Name, Source], modality: Modality, index: ContentIndex) -> dict[Name, bytes]:
    """SHA-256 of what ``read`` would see of each source; one whose files cannot be read is left out.

    The suffixes of the files belong to it, because plugins decode by them: the same bytes are a table under one and
    broken under another.
    """
    files: dict[Name, tuple[Path, ...]] = {}
    for name, source in sources.items():
        try:
            files[name] = modality.files(source)
        except UnreadableSource:
            continue
    digests = index.digests(file for several in files.values() for file in several)
    found: dict[Name, bytes] = {}
    for name, several in files.items():
        try:
            digest = source_digest(sources[name], modality, digests)
        except UnreadableSource:
            continue
        suffixes = " ".join(file.suffix.lower() for file in several)
        found[name] = hashlib.sha256(f"{digest} {suffixes}".encode()).digest()
    return found
