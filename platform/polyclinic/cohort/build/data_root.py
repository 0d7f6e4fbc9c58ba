"""Access to the folder of a public data set: tables through DuckDB, and parallel checks of its files."""

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

from polyclinic.files.atomic import atomic_file
from polyclinic.files.digest import file_sha256
from polyclinic.system.processes import worker_pool
from polyclinic.system.progress import track


def literal(value: object) -> str:
    """Quote a value as a SQL string literal."""
    escaped = str(value).replace("'", "''")
    return f"'{escaped}'"


def file_pattern(path: Path, pattern: str = "") -> str:
    """Quote a path for SQL functions that read files; only ``pattern`` is expanded, ``path`` is escaped."""
    escaped = re.sub(r"([*?\[])", r"[\1]", str(path))
    return literal(f"{escaped}/{pattern}" if pattern else escaped)


def without_cells(error: duckdb.Error) -> str:
    """Return the message of an error with its file and column, but without cells and paths."""
    text = str(error)
    # A cell may contain quotes and line breaks: text after the first quote of the first line may come from a cell.
    message = re.split(r"[\"'/]", text.splitlines()[0])[0].rstrip(" :")
    file = re.search(r"(?:^  file = |file ['\"]|stream: )(?:/.*/)?([^/'\"\n]+)", text, re.MULTILINE)
    column = re.search(r"^Error when converting column \"(\w+)\"", text, re.MULTILINE)
    places = [f"{name} {match[1]}" for name, match in (("file", file), ("column", column)) if match is not None]
    return f"{message} ({', '.join(places)})" if places else message


MISSING = "file is missing"

_IS_VISIBLE = "parse_filename(file) NOT LIKE '.%'"
_MAX_DEPTH = 3
_CHUNK_FILES = 2000
_LARGE_FOLDERS = {"files", "records100", "records500"}


class DataRoot:
    """Folder to which a data set was downloaded.

    Args:
        path: folder of the data set.
        connection: connection in which the tables become views.
        work: folder for the results of file checks, outside ``path``, from which an interrupted build resumes.
        workers: number of processes that check files.
    """

    def __init__(self, path: Path, *, connection: duckdb.DuckDBPyConnection, work: Path, workers: int) -> None:
        self.path, self.connection = path, connection
        self._work, self._workers = work, workers
        self.tables: dict[str, Path] = {}
        self._reads: dict[str, tuple[str, Mapping[str, str]]] = {}

    def folder(self, holding: str, *, setting: str) -> "DataRoot":
        """Return the only folder at or below this one that contains a file or folder.

        Args:
            holding: relative path, such as ``hosp/admissions.csv.gz``; ``.gz`` may be missing on disk.
            setting: setting that the error message suggests.

        Raises:
            ValueError: no folder or several folders contain ``holding``.
        """
        found = self.folders(holding)
        if len(found) != 1:
            names = ", ".join(str(data.path.relative_to(self.path)) for data in found)
            raise ValueError(
                f"got {len(found)} folders with {holding} up to {_MAX_DEPTH} levels below the root"
                f"{f' ({names})' if found else ''}, expected one; set `{setting}`"
            )
        return found[0]

    def folders(self, holding: str) -> "list[DataRoot]":
        """Return every folder at or below this one that contains ``holding``, without folders inside such a folder."""
        found = []
        for folder in _folders_with(holding, self.path, _MAX_DEPTH):
            data = DataRoot(folder, connection=self.connection, work=self._work, workers=self._workers)
            data.tables, data._reads = self.tables, self._reads
            found.append(data)
        return found

    def has(self, name: str) -> bool:
        """Return whether a file exists, compressed or not."""
        return _present(self.path, name) is not None

    def header(self, name: str) -> list[str]:
        """Return the column names of a CSV file that exists, compressed or not.

        Raises:
            ValueError: the file is missing, or its start cannot be read.
        """
        file = _present(self.path, name)
        if file is None:
            raise ValueError(f"{name} is not in the data root; set `--root` to the folder that holds it")
        return _header(file, name, ",")

    def view(
        self, view: str, name: str, columns: Mapping[str, str], *, delimiter: str = ",", index: str | None = None
    ) -> None:
        """Create a view of some columns of a CSV file, under their names in the file; a blank cell is null.

        Args:
            view: name of the view.
            name: relative path of the file, with or without ``.gz``.
            columns: DuckDB type of each column.
            delimiter: delimiter of cells.
            index: name of an unnamed first column, which is read as text.

        Raises:
            ValueError: the file or a column is missing.
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
        # Columns that are not requested may have no name, or the same one.
        named = [column if column in columns else f"column{place}" for place, column in enumerate(found)]
        read = _read_csv(file, named, delimiter)
        self._reads[name] = read, columns
        if index is not None:
            wanted = f'"{named[0]}" AS "{index}", {wanted}'
        self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT {wanted} FROM {read}")

    def misfit(self) -> str:
        """Describe the first column with cells that do not match its type, and count them; empty where all match."""
        for name, (read, columns) in self._reads.items():
            typed = {column: kind for column, kind in columns.items() if kind != "VARCHAR"}
            counted = ", ".join(
                f'count(*) FILTER (trim("{column}") != \'\' AND TRY_CAST(trim("{column}") AS {kind}) IS NULL)'
                for column, kind in typed.items()
            )
            counts = self.connection.execute(f"SELECT {counted or 'count(*)'} FROM {read}").fetchone() or ()
            for (column, kind), count in zip(typed.items(), counts, strict=False):
                if count:
                    return f"{count} cells of {column} in {name} are not of type {kind}"
        return ""

    def lines(self, view: str, name: str) -> None:
        """Create a view of the lines of text files: ``file``, a name without its folder, and ``line``.

        Blank lines are omitted, and hidden files, such as the ``._`` files in archives from a Mac.

        Args:
            view: name of the view.
            name: relative path of a file, or a pattern such as ``annotations/*.txt``.

        Raises:
            ValueError: no file matches.
        """
        found = self.connection.execute(
            f"SELECT file FROM glob({file_pattern(self.path, name)}) WHERE {_IS_VISIBLE} ORDER BY 1"
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
        """Create a view of the visible files that match a pattern: ``file``, a name without its folder."""
        found = f"glob({file_pattern(self.path, pattern)}) WHERE {_IS_VISIBLE}"
        self.connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT parse_filename(file) AS file FROM {found}")

    def checked(self, table: str, column: str, *, check: Callable[[Path], str] | None = None) -> str:
        """Check every file that a column of a table names.

        Args:
            table: table of the connection.
            column: column of paths relative to this folder; null is skipped.
            check: function that returns why an existing file cannot be used, or an empty text; it must be picklable,
                as it runs in other processes. None checks only that files exist.

        Returns:
            Name of a table with ``file`` and ``verdict``: empty, the reason, or ``MISSING``.
        """
        name = f"checked_{table}_{column}"
        all_verdicts = self._usable_files(name)
        rows = self.connection.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY 1")
        files = [file for (file,) in rows.fetchall() if file not in all_verdicts]
        check_file = partial(_verdict, root=self.path, check=check)
        with self._pool(heavy=check is not None, files=len(files)) as pool:
            chunks = [files[start : start + _CHUNK_FILES] for start in range(0, len(files), _CHUNK_FILES)]
            for chunk in track(chunks, description=f"checking files of {table}"):
                verdicts = list(pool.map(check_file, chunk, chunksize=16))
                self._store(name, chunk, verdicts)
                all_verdicts.update(zip(chunk, verdicts, strict=True))
        content = pa.table({"file": list(all_verdicts), "verdict": list(all_verdicts.values())}, schema=_VERDICTS)
        self.connection.register("content", content)
        self.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM content")
        self.connection.unregister("content")
        return name

    def _usable_files(self, name: str) -> dict[str, str]:
        """Read the usable files of an interrupted build; the others may have been repaired since, and are omitted."""
        usable: dict[str, str] = {}
        for path in (self._work / name).glob("*.parquet"):
            content = pq.read_table(path, schema=_VERDICTS).to_pydict()
            pairs = zip(content["file"], content["verdict"], strict=True)
            usable.update((file, verdict) for file, verdict in pairs if verdict == "")
        return usable

    def _store(self, name: str, files: Sequence[str], verdicts: Sequence[str]) -> None:
        folder = self._work / name
        chunk_name = hashlib.sha256("\n".join(files).encode()).hexdigest()[:16]
        with atomic_file(folder / f"{chunk_name}.parquet") as partial:
            pq.write_table(pa.table({"file": list(files), "verdict": list(verdicts)}, schema=_VERDICTS), partial)

    def _pool(self, *, heavy: bool, files: int) -> Executor:
        if heavy and self._workers > 1 and files > _CHUNK_FILES // 10:
            return worker_pool(self._workers)
        # Decoding a few files costs less than starting processes; checking that files exist only waits for the disk.
        return ThreadPoolExecutor(1 if heavy else 4 * self._workers)


def identity(tables: Mapping[str, Path]) -> dict[str, dict[str, int | str]]:
    """Return size and SHA-256 of the tables that a build read, by their path in the data root."""
    return {name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)} for name, file in sorted(tables.items())}


_VERDICTS = pa.schema([("file", pa.string()), ("verdict", pa.string())])


def _verdict(file: str, *, root: Path, check: Callable[[Path], str] | None) -> str:
    path = root / file
    if not path.is_file():
        return MISSING
    return check(path) if check is not None else ""


def _present(folder: Path, name: str) -> Path | None:
    plain = name.removesuffix(".gz")
    return next((folder / file for file in (plain, f"{plain}.gz") if (folder / file).exists()), None)


def _folders_with(name: str, root: Path, depth: int) -> Iterator[Path]:
    """Find folders that contain a name, without descending into a match or into the large trees of study files."""
    if _present(root, name) is not None:
        yield root
    elif depth and root.is_dir() and os.access(root, os.R_OK | os.X_OK):
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and folder.name not in _LARGE_FOLDERS:
                yield from _folders_with(name, folder, depth - 1)


def _header(file: Path, name: str, delimiter: str) -> list[str]:
    """Read the column names; DuckDB would take another line for the header where the number of cells varies."""
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
