"""Find the files of a data set that its tables name without their folder."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from polyclinic.cohort.build import DataRoot

_SCHEMA = pa.schema([("name", pa.string()), ("path", pa.string())])


def table_folder(root: DataRoot, names: Sequence[str]) -> tuple[DataRoot, str]:
    """Return folder and name of a table whose name differs between releases: the first name that is found.

    Raises:
        ValueError: no folder, or several folders, hold it.
    """
    for name in names:
        if root.folders(name):
            return root.folder(name, setting="--root"), name
    raise ValueError(f"neither {' nor '.join(names)} is in the data root; set `--root` to the folder that holds it")


def create_paths(root: DataRoot, table: str, *, suffixes: Sequence[str], folder: str = "", setting: str = "") -> None:
    """Create a table of the files below the root, or below one of its folders: ``name``, and ``path`` from the root.

    Links to folders are followed, as images often lie on another disk. Hidden files and folders, such as the ``._``
    files in archives from a Mac, are omitted.

    Args:
        root: base folder of the paths.
        table: name of the table.
        suffixes: endings of file names, in lower case.
        folder: folder below the root; the root itself if empty.
        setting: setting that named the folder.

    Raises:
        ValueError: the folder lies outside the root or does not exist.
    """
    start = root.path / folder
    if Path(folder).is_absolute() or ".." in Path(folder).parts or not start.is_dir():
        raise ValueError(f"`{setting}` is not a folder below the data root; set it")
    paths = [file.relative_to(root.path).as_posix() for file in _files(start, tuple(suffixes), seen=set())]
    names = [path.rpartition("/")[2] for path in paths]
    root.connection.register("listed_files", pa.table({"name": names, "path": paths}, schema=_SCHEMA))
    root.connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM listed_files")
    root.connection.unregister("listed_files")


def refuse_repeated_names(root: DataRoot, table: str, *, setting: str) -> None:
    """Refuse files of the same name in several folders, as nothing states which of them a table means.

    Args:
        root: data root with the table.
        table: table from ``create_paths``.
        setting: setting that names one folder.

    Raises:
        ValueError: two files have the same name.
    """
    found = root.connection.execute(
        f"SELECT count(*) FROM (SELECT name FROM {table} GROUP BY name HAVING count(*) > 1)"
    ).fetchone()
    assert found is not None
    if found[0]:
        raise ValueError(
            f"{found[0]:,} file names occur in several folders below the root, expected one each; "
            f"set `{setting}` to one folder of images"
        )


def _files(folder: Path, suffixes: tuple[str, ...], *, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Find files by the ends of their names, without entering a folder twice, which links in a circle would cause."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen or not os.access(folder, os.R_OK | os.X_OK):
        return
    seen.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in visible:
        if entry.is_dir():
            yield from _files(folder / entry.name, suffixes, seen=seen)
        elif entry.name.lower().endswith(suffixes) and entry.is_file():
            yield folder / entry.name
