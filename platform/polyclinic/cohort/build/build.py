"""Build ``cohort.parquet``, ``cohort.yaml`` and ``build-report.json`` from a data set."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import yaml
from filelock import FileLock, Timeout

from polyclinic import __version__
from polyclinic.cohort.build.builder import Built, CohortBuilder, Flow
from polyclinic.cohort.build.data_root import DataRoot, identity, literal, without_cells
from polyclinic.cohort.cohort import SPLITS, Cohort, read_cohort

_DATABASE = "work.duckdb"


def build_cohort(
    builder: CohortBuilder, *, name: str, root: Path, out: Path, workers: int = 2, memory: str = "4GB"
) -> tuple[Path, Cohort, Flow]:
    """Build a cohort, reusing the file checks of an interrupted build with the same settings.

    Args:
        builder: builder of the data set.
        name: name under which the builder is installed.
        root: folder of the data set; nothing is written to it.
        out: folder that must not exist, outside ``root``; it appears only when everything is written.
        workers: number of query threads, and of processes that check files.
        memory: memory limit of the queries, such as ``4GB``; larger intermediate results go to disk beside ``out``.

    Returns:
        The path of ``cohort.yaml``, the cohort, and the flow of exclusions.

    Raises:
        ValueError: ``root`` is not a folder, ``out`` exists or lies in ``root``, another build to it is running, a
            table does not match the expected layout, no study remains, or the cohort is not valid.
    """
    if not root.is_dir():
        raise ValueError(f"got root {root.name!r}, which is not a folder; set `--root` to the folder of the data set")
    root, out = root.resolve(), out.resolve()
    if out.exists():
        raise ValueError(f"folder {out.name!r} already exists; choose another `--out` or remove it")
    if out.is_relative_to(root):
        raise ValueError("`--out` lies in the data root, to which nothing is written; choose another")
    if "?" in str(out):
        raise ValueError("`--out` has a question mark in its path, which DuckDB does not support; choose another")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(out.with_name(f".{out.name}.lock"), timeout=0):
            return _build(builder, name, root, out, workers, memory)
    except Timeout:
        raise ValueError(f"another build to {out.name!r} is running; wait for it, or choose another `--out`") from None
    except OSError as error:
        raise ValueError(
            f"a file cannot be read or written: {error.strerror or type(error).__name__}; check permissions and disk "
            "space below `--root` and beside `--out`"
        ) from None


def _build(
    builder: CohortBuilder, name: str, root: Path, out: Path, workers: int, memory: str
) -> tuple[Path, Cohort, Flow]:
    work = _work_folder(out, {"builder": name, "settings": builder.settings(), "root": root, "version": __version__})
    result = work / "result"
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir()
    with _connection(work, workers, memory) as connection:
        data = DataRoot(root, connection=connection, work=work, workers=workers)
        flow = Flow(connection)
        try:
            built = builder.build(data, flow)
            _write(built, result, connection, name)
        except duckdb.OutOfMemoryException:
            raise ValueError(f"the queries need more memory than {memory}; set `--memory` higher") from None
        except duckdb.Error as error:
            raise ValueError(f"a table does not match the layout of the data set: {_message(error, data)}") from None
        report = _report(builder, name, built, flow, data, connection)
    (result / "build-report.json").write_text(json.dumps(report, indent=1, default=str), encoding="utf-8")
    cohort = replace(read_cohort(result / "cohort.yaml"), name=out.name)
    result.rename(out)
    shutil.rmtree(work)
    return out / "cohort.yaml", cohort, flow


def _work_folder(out: Path, identity: Mapping[str, Any]) -> Path:
    """Return the work folder of an interrupted build if its settings were the same, else a new one."""
    work = out.with_name(f".{out.name}.partial")
    content = json.dumps(identity, sort_keys=True, default=str)
    record = work / "identity.json"
    if not record.is_file() or record.read_text(encoding="utf-8") != content:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        record.write_text(content, encoding="utf-8")
    return work


def _message(error: duckdb.Error, data: DataRoot) -> str:
    return (isinstance(error, duckdb.ConversionException) and data.misfit()) or without_cells(error)


def _connection(work: Path, workers: int, memory: str) -> duckdb.DuckDBPyConnection:
    """Open a new database on disk, so that results larger than memory can be spilled."""
    for file in work.glob(f"{_DATABASE}*"):
        file.unlink()
    try:
        connection = duckdb.connect(
            str(work / _DATABASE),
            config={"threads": workers, "memory_limit": memory, "temp_directory": str(work / "spilled")},
        )
    except duckdb.Error as error:
        raise ValueError(f"got memory {memory!r} and workers {workers}: {without_cells(error)}; set them") from None
    connection.execute("SET enable_progress_bar = false")
    return connection


def _write(built: Built, folder: Path, connection: duckdb.DuckDBPyConnection, name: str) -> None:
    if connection.execute(f"SELECT count(*) FROM {built.table}").fetchone() == (0,):
        raise ValueError("no study remains after the exclusions; see `--help` for the settings that exclude studies")
    for stem, table in {"cohort": built.table, **built.tables}.items():
        order = " ORDER BY study_id" if stem == "cohort" else ""
        connection.execute(
            f"COPY (SELECT * FROM {table}{order}) TO {literal(folder / f'{stem}.parquet')} (FORMAT parquet)"
        )
    spec = {
        "table": "cohort.parquet",
        "root": str(built.root),
        "study_id": "study_id",
        "patient_id": "patient_id",
        "population": built.population,
        "split": "split",
        "modalities": {modality: dict(source) for modality, source in built.modalities.items()},
        "labels": {label: dict(entry) for label, entry in built.labels.items()},
        "groups": list(built.groups),
    }
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    (folder / "cohort.yaml").write_text(f"# built by: polyclinic cohort build {name}\n{text}", encoding="utf-8")
    if built.plugins:
        plugins = {"data": {"modalities": {modality: dict(entry) for modality, entry in built.plugins.items()}}}
        (folder / "data.yaml").write_text(yaml.safe_dump(plugins, sort_keys=False), encoding="utf-8")


def _report(
    builder: CohortBuilder, name: str, built: Built, flow: Flow, data: DataRoot, connection: duckdb.DuckDBPyConnection
) -> dict[str, Any]:
    splits = dict(connection.execute(f"SELECT split, count(*) FROM {built.table} GROUP BY 1").fetchall())
    patients = dict(
        connection.execute(f"SELECT split, count(DISTINCT patient_id) FROM {built.table} GROUP BY 1").fetchall()
    )
    return {
        "builder": name,
        "polyclinic": __version__,
        "settings": builder.settings(),
        "tables": identity(data.tables),
        "flow": flow.as_json(),
        "studies": {split: splits.get(split, 0) for split in SPLITS},
        "patients": {split: patients.get(split, 0) for split in SPLITS},
        "notes": list(built.notes),
        "unverified": list(builder.unverified),
    }
