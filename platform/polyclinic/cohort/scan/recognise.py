"""Decide which plugin takes a file, by its suffix and header."""

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from polyclinic.cohort.scan.archives import describe_archive
from polyclinic.cohort.scan.columns import is_id_column
from polyclinic.cohort.scan.walk import Entry, stem_of
from polyclinic.modality import Modality, Recognised, Scannable, UnreadableSource

TABLES = (".csv", ".tsv", ".tab", ".parquet", ".xlsx", ".xlsm", ".csv.gz", ".tsv.gz")
"""Endings of tables that are joined to the studies."""

_ABOUT = frozenset(
    {"readme", "license", "licence", "copying", "changelog", "records", "sha256sums", "md5sums", "dicomdir", "dicomweb"}
)
_PACKED = (".zip", ".tar", ".tgz", ".tar.gz")
_HEAD_BYTES = 4096


class FileFacts(NamedTuple):
    """What a scan knows about one file.

    Attributes:
        path: path relative to the folder.
        size: size in bytes.
        kind: ``source``, ``table`` or a reason to leave the file out.
        modality: name of the plugin that takes it.
        stated: identifiers of its header.
        files: relative paths of the files that the plugin reads for it, the one with the measurement last.
        head: digest of the first bytes, so that few files need a digest of all bytes.
        why: what the plugins said about a file that none takes.
    """

    path: str
    size: int
    kind: str
    modality: str = ""
    stated: Recognised = Recognised()
    files: tuple[str, ...] = ()
    head: str = ""
    why: str = ""


def inspect_file(entry: Entry, *, folder: Path, modalities: Mapping[str, Modality]) -> FileFacts:
    """Inspect one file; no error of a decoder leaves this function.

    Args:
        entry: file to inspect.
        folder: folder that is scanned.
        modalities: installed plugins by name.
    """
    file = folder / entry.path
    if stem_of(entry.path).casefold() in _ABOUT and not entry.path.lower().endswith((*TABLES, *_PACKED)):
        return FileFacts(*entry, kind="about-the-data")
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        return FileFacts(*entry, kind="unreadable", why=f"file cannot be opened ({type(error).__name__})")
    digest = hashlib.sha256(head).hexdigest()
    if entry.path.lower().endswith(TABLES):
        found = _source(file, modalities) if _may_be_of_one_study(file, head) else None
        if found is None or found.kind != "source":
            return FileFacts(*entry, kind="table", head=digest)
    elif not _claiming(entry.path, modalities) and (archive := describe_archive(file, head))[0]:
        return FileFacts(*entry, kind=archive[0], head=digest, why=archive[1])
    else:
        found = _source(file, modalities)
    files = tuple(path.relative_to(folder).as_posix() for path in found.files)
    return FileFacts(*entry, found.kind, found.modality, found.stated, files, digest, found.why)


class _Found(NamedTuple):
    kind: Literal["source", "ambiguous", "unreadable"]
    modality: str = ""
    stated: Recognised = Recognised()
    files: tuple[Path, ...] = ()
    why: str = ""


def _source(file: Path, modalities: Mapping[str, Modality]) -> _Found:
    suffix = file.suffix.lower()
    candidates = _claiming(file.name, modalities) or {
        name: plugin for name, plugin in modalities.items() if suffix in plugin.suffixes
    }
    if not candidates:  # a suffix that nobody knows, such as the end of a UID, is none
        candidates = {name: plugin for name, plugin in modalities.items() if "" in plugin.suffixes}
    taken: dict[str, Recognised] = {}
    refused: list[str] = []
    for name, plugin in candidates.items():
        try:
            taken[name] = _recognise(plugin, file)
        except UnreadableSource as error:
            refused.append(f"{name}: {error}")
        except Exception as error:  # a decoder's fault must not end the scan
            refused.append(f"{name}: {type(error).__name__}")
    if len(taken) != 1:
        return _Found("ambiguous" if taken else "unreadable", why="; ".join(sorted(taken) or refused))
    [(name, stated)] = taken.items()
    return _Found("source", name, stated, tuple(candidates[name].files(file)))


def _claiming(name: str, modalities: Mapping[str, Modality]) -> dict[str, Modality]:
    """Return the plugins that take a compressed file by a suffix of two parts, such as ``.nii.gz``."""
    suffix = ".".join(["", *name.lower().rsplit(".", 2)[1:]])
    return {each: plugin for each, plugin in modalities.items() if suffix in plugin.suffixes and suffix.count(".") == 2}


def _recognise(plugin: Modality, file: Path) -> Recognised:
    if isinstance(plugin, Scannable):
        return plugin.recognise(file)
    plugin.read(file)
    return Recognised()


def _may_be_of_one_study(file: Path, head: bytes) -> bool:
    """Return whether a CSV file may be the values of one study: its header names no id."""
    if file.suffix.lower() != ".csv":
        return False
    line = head.decode("utf-8-sig", errors="replace").partition("\n")[0]
    return not any(is_id_column(cell) for cell in next(csv.reader([line.strip()]), []))
