"""The folder of a public data set: its tables through DuckDB, and its source files checked in parallel."""

import csv
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from polyclinic.files.atomic import atomic_file
from polyclinic.files.digest import file_sha256
from polyclinic.system.processes import worker_pool


def literal(value: object) -> str:
    """A literal."""
    escaped = str(value).replace("'", "''")
    return f"'{escaped}'"


def file_pattern(path: Path, pattern: str = "") -> str:
    """A literal for functions that read files: ``path`` stands for itself, wildcards have a meaning in ``pattern``."""
    itself = re.sub(r"([*?\[])", r"[\1]", str(path))
    return literal(f"{itself}/{pattern}" if pattern else itself)


def without_cells(error: duckdb.Error) -> str:
    """What went wrong and in which file, line and column, without any cell and any path."""
    whole = str(error)
    # A cell may hold quotes and line ends: nothing after the first quote of the first line is certain to be ours.
    message = re.split(r"[\"'/]", whole.splitlines()[0])[0].rstrip(" :")
    file = re.search(r"(?:^  file = |file ['\"]|stream: )(?:/.*/)?([^/'\"\n]+)", whole, re.MULTILINE)
    column = re.search(r"^Error when converting column \"(\w+)\"", whole, re.MULTILINE)
    places = [f"{name} {match[1]}" for name, match in (("file", file), ("column", column)) if match is not None]
    return f"{message} ({', '.join(places)})" if places else message


MISSING = "file is missing"

_SHOWN = "parse_filename(file) NOT LIKE '.%'"
_DEEPEST = 3
_AT_ONCE = 2000
_LARGE_FOLDERS = {"files", "records100", "records500"}


class DataRoot:
    """The folder that a data set was downloaded to.

    Args:
        path: the folder.
        connection: in which tables become views.
        work: a folder for what has been found out, outside of ``path``; an interrupted build goes on from it.
        workers: processes that check files.
    """

    def __init__(self, path: Path, *, connection: duckdb.DuckDBPyConnection, work: Path, workers: int) -> None:
        self.path, self.connection = path, connection
        self._work, self._workers = work, workers
        self.tables: dict[str, Path] = {}
        self._reads: dict[str, tuple[str, Mapping[str, str]]] = {}

    def folder(self, holding: str, *, setting: str) -> "DataRoot":
        """The folder at or below this one that holds a file or folder of this name.

        Args:
            holding: a relative path, such as ``hosp/admissions.csv.gz``; ``.gz`` may be missing on disk.
            setting: what to set where the folder is not found or not the only one.

        Raises:
            ValueError: there is none, or more than one.
        """
        found = self.folders(holding)
        if len(found) != 1:
            names = ", ".join(str(data.path.relative_to(self.path)) for data in found)
            raise ValueError(
                f"got {len(found)} folders with {holding} up to {_DEEPEST} levels below the root"
                f"{f' ({names})' if found else ''}, expected one; set `{setting}`"
            )
        return found[0]

    def folders(self, holding: str) -> "list[DataRoot]":
        """Every folder at or below this one that holds a file or folder of this name, but for those within another."""
        found = []
        for folder in _folders_with(holding, self.path, _DEEPEST):
            data = DataRoot(folder, connection=self.connection, work=self._work, workers=self._workers)
            data.tables, data._reads = self.tables, self._reads
            found.append(data)
        return found

    def has(self, name: str) -> bool:
        """Whether a file is there, compressed or not."""
        return _present(self.path, name) is not None

    def view(
        self, view: str, name: str, columns: Mapping[str, str], *, delimiter: str = ",", index: str | None = None
    ) -> None:
        """Make some columns of a CSV file a view, under their own names; a blank cell is null.

        Args:
            view: its name.
            name: of the file; ``.gz`` may be there or not.
            columns: name to DuckDB type.
            delimiter: between cells.
            index: what to call a first column that has no name; text.

        Raises:
            ValueError: no such file, or a column missing.
        """
        file = _present(self.path, name)
        if file is None:
            raise ValueError(f"{name} is not in the data root; set `--root` to the folder that holds it")
        self.tables[name] = file
        found = _header(file, name, delimiter)
        if absent := [column for column in columns if found.count(column) != 1]:
            has = f"{found.count(absent[0])} columns" if absent[0] in found else "no column"
            raise ValueError(f"{name} has {has} {absent[0]!r}, it has {found}; is this another version of the data?")
        wanted = ", ".join(
            f'CAST(nullif(trim("{column}"), \'\') AS {kind}) AS "{column}"' for column, kind in columns.items()
        )
        # Columns that nobody asked for may have no name, or the same.
        named = [column if column in columns else f"column{place}" for place, column in enumerate(found)]
        read = _read_csv(file, named, delimiter)
        self._reads[name] = read, columns
        if index is not None:
            wanted = f'"{named[0]}" AS "{index}", {wanted}'
        self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT {wanted} FROM {read}")

    def misfit(self) -> str:
        """The first column of a view with cells that are not of its type, and how many; empty where there is none."""
        for name, (read, columns) in self._reads.items():
            typed = {column: kind for column, kind in columns.items() if kind != "VARCHAR"}
            counted = ", ".join(
                f'count(*) FILTER (trim("{column}") != \'\' AND TRY_CAST(trim("{column}") AS {kind}) IS NULL)'
                for column, kind in typed.items()
            )
            counts = self.connection.execute(f"SELECT {counted or 'count(*)'} FROM {read}").fetchone() or ()
            for (column, kind), count in zip(typed.items(), counts, strict=False):
                if count:
                    return f"{count} cells of {column} in {name} are no {kind}"
        return ""

    def lines(self, view: str, name: str) -> None:
        """Make the lines of text files a view of ``file``, a name without its folder, and ``line``; blank ones are not.

        Hidden files, such as the ``._`` that an archive of a Mac holds beside each file, are not looked at.

        Args:
            view: its name.
            name: of a file, or a pattern of several such as ``annotations/*.txt``.

        Raises:
            ValueError: no such file.
        """
        found = self.connection.execute(
            f"SELECT file FROM glob({file_pattern(self.path, name)}) WHERE {_SHOWN} ORDER BY 1"
        )
        sources = ", ".join(file_pattern(Path(file)) for (file,) in found.fetchall())
        if not sources:
            raise ValueError(f"{name} is not in the data root; set `--root` to the folder that holds it")
        if (self.path / name).is_file():
            self.tables[name] = self.path / name
        self.connection.execute(f"""
            CREATE OR REPLACE VIEW {view} AS SELECT file, line FROM (
                SELECT parse_filename(filename) AS file,
                    trim(unnest(string_split(content, chr(10))), ' ' || chr(9) || chr(13) || chr(65279)) AS line
                FROM read_text([{sources}])
            ) WHERE line != ''
        """)

    def names(self, view: str, pattern: str) -> None:
        """Make the names of the files that match a pattern a view of ``file``, without its folder; none is hidden."""
        found = f"glob({file_pattern(self.path, pattern)}) WHERE {_SHOWN}"
        self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT parse_filename(file) AS file FROM {found}")

    def checked(self, table: str, column: str, *, check: Callable[[Path], str] | None = None) -> str:
        """Look at every file that a column of a table names.

        Args:
            table: of the connection.
            column: of paths relative to this folder; null is skipped.
            check: gives the reason why an existing file cannot be used, empty when it can; a function of a module, as
                it runs in other processes. Only whether files exist is looked at when absent.

        Returns:
            Name of a table with ``file`` and ``verdict``: empty, the reason, or ``MISSING``.
        """
        name = f"checked_{table}_{column}"
        known = self._known(name)
        rows = self.connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1")
        files = [file for (file,) in rows.fetchall() if file not in known]
        look = partial(_verdict, root=self.path, check=check)
        with self._pool(heavy=check is not None, files=len(files)) as pool:
            chunks = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
            for chunk in track(chunks, description=f"looking at files of {table}", transient=True):
                verdicts = list(pool.map(look, chunk, chunksize=16))
                self._keep(name, chunk, verdicts)
                known.update(zip(chunk, verdicts, strict=True))
        content = pa.table({"file": list(known), "verdict": list(known.values())}, schema=_VERDICTS)
        self.connection.register("content", content)
        self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM content")
        self.connection.unregister("content")
        return name

    def _known(self, name: str) -> dict[str, str]:
        """Usable files of an interrupted build; one that was missing or damaged then may have been fetched again."""
        known: dict[str, str] = {}
        for path in (self._work / name).glob("*.parquet"):
            content = pq.read_table(path, schema=_VERDICTS).to_pydict()
            pairs = zip(content["file"], content["verdict"], strict=True)
            known.update((file, verdict) for file, verdict in pairs if verdict == "")
        return known

    def _keep(self, name: str, files: Sequence[str], verdicts: Sequence[str]) -> None:
        folder = self._work / name
        chunk_name = hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]
        with atomic_file(folder / f"{chunk_name}.parquet") as partial:
            pq.write_table(pa.table({"file": list(files), "verdict": list(verdicts)}, schema=_VERDICTS), partial)

    def _pool(self, *, heavy: bool, files: int) -> Executor:
        if heavy and self._workers > 1 and files > _AT_ONCE // 10:
            return worker_pool(self._workers)
        # Decoding a few files costs less than starting processes; whether files exist waits for the disk alone.
        return ThreadPoolExecutor(1 if heavy else 4 * self._workers)


def identity(tables: Mapping[str, Path]) -> dict[str, dict[str, int | str]]:
    """Size and SHA-256 of the tables that a build read, by their name in the data root."""
    return {name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)} for name, file in sorted(tables.items())}


_VERDICTS = pa.schema([("file", pa.string()), ("verdict", pa.string())])


def _verdict(file: str, *, root: Path, check: Callable[[Path], str] | None) -> str:
    path = root / file
    if not path.is_file():
        return MISSING
    return check(path) if check is not None else ""


def _present(folder: Path, name: str) -> Path | None:
    plain = name.removesuffix(".gz")
    return next((folder / one for one in (plain, f"{plain}.gz") if (folder / one).exists()), None)


def _folders_with(name: str, root: Path, deepest: int) -> Iterator[Path]:
    """Folders that hold a name; what lies below one of them or in the large trees of studies is not walked."""
    if _present(root, name) is not None:
        yield root
    elif deepest and root.is_dir() and os.access(root, os.R_OK | os.X_OK):
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and folder.name not in _LARGE_FOLDERS:
                yield from _folders_with(name, folder, deepest - 1)


def _header(file: Path, name: str, delimiter: str) -> list[str]:
    """Names of the columns; DuckDB would take another line for the header where one has more cells or fewer."""
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig", errors="replace", newline="") as stream:
            return [column.strip() for column in next(csv.reader(stream, delimiter=delimiter), [])]
    except (OSError, EOFError, csv.Error, zlib.error) as error:
        raise ValueError(f"{name} cannot be read as a table ({type(error).__name__}); is it complete?") from None


def _read_csv(file: Path, columns: Sequence[str], delimiter: str) -> str:
    kinds = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in columns)
    return (
        f"read_csv({file_pattern(file)}, auto_detect=false, header=true, columns={{{kinds}}}, "
        f"delim={literal(delimiter)}, quote='\"', escape='\"')"
    )
