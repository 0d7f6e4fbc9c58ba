"""Speed of linking admissions to radiographs, ECGs and laboratory values in DuckDB, against the published method.

The published method (the rules of Symile-MIMIC, reimplemented) loops over admissions in pandas and searches the events
of each patient. Only tables are compared: neither side checks that files exist.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from benchmarks.measure import Figure
from polyclinic.cohort.time_windows import Anchors, Events, Window, link, link_items

COMMAND = "python -m benchmarks linkage"
ITEMS = tuple(range(50800, 50850))
CXR, DAY_AROUND = Window(lower=24, upper=72, after_lower=True), Window(lower=-24, upper=24)
_SMALL_COUNTS = {"admissions": 10_000, "labs": 2_000_000, "cxr": 20_000, "ecg": 20_000}
_LARGE_COUNTS = {"admissions": 100_000, "labs": 20_000_000, "cxr": 200_000, "ecg": 200_000}


def measure() -> list[Figure]:
    """Measure speed-up over pandas at equal output, the cost of twice the data, and time and memory in full."""
    with tempfile.TemporaryDirectory() as folder:
        small, double, large = (Path(folder) / name for name in ("small", "double", "large"))
        _write(small, **_SMALL_COUNTS)
        _write(double, **{name: 2 * count for name, count in _SMALL_COUNTS.items()})
        ours = _seconds(lambda: _linked(small))
        started = time.perf_counter()
        theirs = _published(small)
        published = time.perf_counter() - started
        pd.testing.assert_frame_equal(_linked(small).astype("float64"), theirs.astype("float64"))
        doubled = _seconds(lambda: _linked(double))
        _write(large, **_LARGE_COUNTS)
        seconds, peak = _apart(large)
    return [
        Figure(name="linkage.speedup_10k", value=published / ours, unit="times", goal=50, command=COMMAND),
        Figure(
            name="linkage.doubling_cost", value=doubled / ours, unit="times", goal=2.3, at_most=True, command=COMMAND
        ),
        Figure(name="linkage.seconds_20m", value=seconds, unit="s", goal=300, at_most=True, command=COMMAND),
        Figure(name="linkage.peak_gb_20m", value=peak, unit="GB", goal=3, at_most=True, command=COMMAND),
    ]


def _write(folder: Path, *, admissions: int, labs: int, cxr: int, ecg: int) -> None:
    """Write Parquet tables of random patients over ten years; a tenth of the results has no value."""
    folder.mkdir()
    patients = max(1, admissions * 4 // 5)
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SELECT setseed(0.5)")
        when = "TIMESTAMP '2150-01-01' + to_minutes(CAST(random() * 5256000 AS BIGINT))"
        who = f"CAST(random() * {patients} AS BIGINT) AS subject_id"
        connection.execute(
            f"CREATE TABLE admissions AS SELECT range AS hadm_id, {who}, {when} AS admittime FROM range({admissions})"
        )
        # As in a hospital, events are close to an admission of the patient.
        near = "admittime + to_minutes(CAST((random() - 0.3) * 10000 AS BIGINT))"
        for name, count, more in (
            ("cxr", cxr, ""),
            ("ecg", ecg, ""),
            ("labs", labs, f", {ITEMS[0]} + CAST(floor(random() * {len(ITEMS) + 10}) AS BIGINT) AS itemid, "
             "CASE WHEN random() < 0.1 THEN NULL ELSE round(random() * 100, 2) END AS valuenum"),
        ):  # fmt: skip
            connection.execute(
                f"COPY (SELECT e.range AS id, subject_id, {near} AS time{more} FROM range({count}) AS e "
                f"JOIN admissions ON hadm_id = e.range % {admissions}) TO '{folder / name}.parquet'"
            )
        connection.execute(f"COPY admissions TO '{folder / 'admissions.parquet'}'")


def _linked(folder: Path) -> pd.DataFrame:
    """Return one row per admission: the earliest radiograph, ECG and value of each item, ordered by admission."""
    with duckdb.connect(config={"memory_limit": "2GB", "threads": 2, "temp_directory": str(folder)}) as connection:
        connection.execute("SET enable_progress_bar = false")
        for name in ("admissions", "cxr", "ecg", "labs"):
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM '{folder / name}.parquet'")
        anchors = Anchors(table="admissions", id="hadm_id", patient="subject_id", time="admittime")
        for name, window in (("cxr", CXR), ("ecg", DAY_AROUND)):
            linked = link(connection, anchors, Events(table=name, id="id", patient="subject_id", time="time"), window)
            connection.execute(f"CREATE TABLE found_{name} AS {linked.sql_query()}")
        labs = Events(table="labs", id="id", patient="subject_id", time="time")
        linked = link_items(connection, anchors, labs, DAY_AROUND, item="itemid", value="valuenum", items=ITEMS)
        connection.execute(f"CREATE TABLE found_labs AS {linked.sql_query()}")
        return connection.execute("""
            SELECT hadm_id, c.id AS cxr, e.id AS ecg, l.* EXCLUDE (anchor_id) FROM admissions
            LEFT JOIN found_cxr AS c ON c.anchor_id = hadm_id LEFT JOIN found_ecg AS e ON e.anchor_id = hadm_id
            LEFT JOIN found_labs AS l ON l.anchor_id = hadm_id ORDER BY hadm_id
        """).df()


def _published(folder: Path) -> pd.DataFrame:
    """Return the table of ``_linked``, built admission by admission."""
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("admissions", "cxr", "ecg", "labs")}
    labs = tables["labs"]
    labs = labs[labs["itemid"].isin(ITEMS) & labs["valuenum"].notna()]
    grouped: dict[str, dict[Any, pd.DataFrame]] = {
        name: dict(tuple(events.groupby("subject_id")))
        for name, events in (("cxr", tables["cxr"]), ("ecg", tables["ecg"]), ("labs", labs))
    }
    rows = [_row(admission, grouped) for _, admission in tables["admissions"].sort_values("hadm_id").iterrows()]
    return pd.DataFrame(rows, columns=["hadm_id", "cxr", "ecg", *map(str, ITEMS)])


def _row(admission: pd.Series, grouped: dict[str, dict[Any, pd.DataFrame]]) -> dict[str, float]:
    row: dict[str, float] = {"hadm_id": admission["hadm_id"]}
    for name, window in (("cxr", CXR), ("ecg", DAY_AROUND), ("labs", DAY_AROUND)):
        events = grouped[name].get(admission["subject_id"])
        if events is None:
            continue
        hours = (events["time"] - admission["admittime"]).dt.total_seconds() / 3600
        first = hours > window.lower if window.after_lower else hours >= window.lower
        inside = events[first & (hours <= window.upper)].sort_values(["time", "id"])
        if name != "labs":
            row[name] = inside["id"].iloc[0] if len(inside) else np.nan
            continue
        earliest = inside.drop_duplicates("itemid")
        row |= {str(item): value for item, value in zip(earliest["itemid"], earliest["valuenum"], strict=True)}
    return row


def _seconds(work: Callable[[], object]) -> float:
    """Return the shortest of three durations."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def _apart(folder: Path) -> tuple[float, float]:
    """Link in a separate process and return its seconds and peak gigabytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_watched, (folder,))


def _watched(folder: Path) -> tuple[float, float]:
    started = time.perf_counter()
    _linked(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return time.perf_counter() - started, peak
