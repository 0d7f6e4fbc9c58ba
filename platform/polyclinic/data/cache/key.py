"""Keys of the cache: content hashes of sources, and the identity of everything else that ``prepare`` depends on."""

import hashlib
import json
import re
import sys
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from polyclinic import __version__
from polyclinic.cohort.content_index import ContentIndex, source_digest
from polyclinic.files.digest import file_sha256
from polyclinic.modality import Modality, Source, UnreadableSource, settings

_IMPORT = re.compile(rb"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)
HASH_PREFIX_LENGTH = 16
_SHARED_PREFIX = "polyclinic_"
"""Start of the names of packages that plugins share; they have no version that changes with their code."""


def identity(modality: Modality) -> dict[str, Any]:
    """Return everything except the source that an item depends on.

    These are the plugin's class, settings and fitted state, every file of the packages that define the class and
    its bases and of the packages named ``polyclinic_*`` that they import, the versions of the installed libraries that
    those files import, and the version of the platform. Any other local module that a plugin imports from outside its
    package is not seen.

    Raises:
        ValueError: the code of the class is not in a file.
    """
    kind = type(modality)
    files = {name: file for base in kind.__mro__ if not _is_ours(base) for name, file in _files(base).items()}
    files = _with_shared(files)  # such as polyclinic_dicom
    return {
        "polyclinic": __version__,
        "plugin": f"{kind.__module__}.{kind.__qualname__}",
        "settings": settings(modality),
        "state": _digest(modality.state()),
        "code": _code(files),
        "libraries": _libraries(files.values()),
    }


def short_name(about: dict[str, Any]) -> str:
    """Return the name of the folder for items of an identity."""
    return f"{about['plugin'].rpartition('.')[2]}-{_digest(about)[:HASH_PREFIX_LENGTH]}"


@cache
def environment() -> str:
    """Return the SHA-256 of the names and versions of all installed distributions.

    When it changes, unreadable sources are tried again, as a new decoder may read them.
    """
    return _digest(sorted(f"{package.name} {package.version}" for package in distributions()))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _is_ours(base: type) -> bool:
    """Return whether a class belongs to the platform, which has a version, or to the standard library."""
    top = base.__module__.partition(".")[0]
    return top == "polyclinic" or (top in sys.stdlib_module_names and top != "__main__")


def _files(base: type) -> dict[str, Path]:
    """Return the files of the outermost regular package of a class, or of its module, by relative path."""
    parts = base.__module__.split(".")
    modules: list[ModuleType | None] = [sys.modules.get(".".join(parts[: end + 1])) for end in range(len(parts))]
    for module in modules:
        if module is not None and (file := getattr(module, "__file__", None)):
            found = _files_below(Path(file).parent if hasattr(module, "__path__") else Path(file))
            if found:
                return found
    raise ValueError(
        f"got a plugin {base.__qualname__} whose code is not in a file, so changes of it cannot be detected; "
        "move it to a module, or remove `data.prepared`"
    )


def _files_below(root: Path) -> dict[str, Path]:
    """Every file of a package folder, or the one file of a module, by its path relative to the folder around it."""
    paths = [root] if root.is_file() else root.rglob("*")
    return {
        path.relative_to(root.parent).as_posix(): path
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
    }


def _with_shared(files: dict[str, Path]) -> dict[str, Path]:
    """Add the files of every package named ``polyclinic_*`` that the files import, directly or through another."""
    shared: dict[str, Path] = {}
    for name in sorted(_imported(files.values())):
        if name.startswith(_SHARED_PREFIX) and (spec := find_spec(name)) is not None and spec.origin:
            origin = Path(spec.origin)
            shared |= _files_below(origin.parent if spec.submodule_search_locations else origin)
    return files if shared.keys() <= files.keys() else _with_shared(files | shared)


def _code(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _imported(files: Iterable[Path]) -> set[str]:
    sources = [file.read_bytes() for file in files if file.suffix == ".py"]
    return {name.decode() for source in sources for name in _IMPORT.findall(source)}


def _libraries(files: Iterable[Path]) -> dict[str, str]:
    owners = _owners()
    packages = {owner for name in _imported(files) for owner in owners.get(name, ())}
    return {name: found for name in sorted(packages) if (found := _version(name))}


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
    """Return the SHA-256 of the content of each source; a source with unreadable files is omitted.

    The hash includes the suffixes of the files, because plugins choose a decoder by them: the same bytes may be a
    table under one suffix and broken under another.
    """
    files: dict[Name, tuple[Path, ...]] = {}
    for name, source in sources.items():
        try:
            files[name] = modality.files(source)
        except UnreadableSource:
            continue
    digests = index.digests(file for paths in files.values() for file in paths)
    contents: dict[Name, bytes] = {}
    for name, paths in files.items():
        try:
            digest = source_digest(sources[name], modality, digests)
        except UnreadableSource:
            continue
        suffixes = " ".join(file.suffix.lower() for file in paths)
        contents[name] = hashlib.sha256(f"{digest} {suffixes}".encode()).digest()
    return contents
