"""Time windows against loops over rows, with ties, bounds, and results that were not yet known."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from polyclinic.cohort.time_windows import Anchors, Events, Window, link, link_items

ANCHORS = Anchors(table="admissions", id="hadm_id", patient="subject_id", time="admittime")
EVENTS = Events(table="events", id="event id", patient="subject_id", time="charttime", available="storetime")
START = datetime(2150, 3, 1, 8)


def _tables(seed: int = 0, rows: int = 400) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    admissions = pd.DataFrame({
        "hadm_id": np.arange(40), "subject_id": rng.integers(0, 15, 40),
        "admittime": [START + timedelta(hours=int(h)) for h in rng.integers(0, 200, 40)],
    })  # fmt: skip
    # Whole hours make ties and events exactly on the bounds.
    charted = [START + timedelta(hours=int(h)) for h in rng.integers(-30, 260, rows)]
    events = pd.DataFrame({
        "event id": rng.permutation(rows), "subject_id": rng.integers(0, 15, rows), "charttime": charted,
        "storetime": [t + timedelta(hours=int(h)) for t, h in zip(charted, rng.integers(0, 30, rows), strict=True)],
        "itemid": rng.choice([50802, 50813, 50912], rows), "valuenum": rng.normal(size=rows).round(3),
    })  # fmt: skip
    events.loc[rng.random(rows) < 0.1, "valuenum"] = np.nan
    events.loc[rng.random(rows) < 0.1, "storetime"] = pd.NaT
    return admissions, events


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    admissions, events = _tables()
    with duckdb.connect() as database:
        database.register("admissions", admissions)
        database.register("read", events)
        # NaN is a number to a database; tables on disk have nulls.
        value = "CASE WHEN isnan(valuenum) THEN NULL ELSE valuenum END AS valuenum"
        database.execute(f"CREATE TABLE events AS SELECT * REPLACE ({value}) FROM read")
        yield database


def _rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    admissions, events = _tables()
    return admissions.to_dict("records"), events.to_dict("records")


def _is_inside(anchor: dict[str, Any], event: dict[str, Any], window: Window, strict: bool) -> bool:
    hours = (event["charttime"] - anchor["admittime"]).total_seconds() / 3600
    if event["subject_id"] != anchor["subject_id"] or hours > window.upper or hours < window.lower:
        return False
    if window.after_lower and hours == window.lower:
        return False
    return not strict or bool(event["storetime"] <= anchor["admittime"])


def _expected(window: Window, strict: bool = False) -> set[tuple[int, int]]:
    admissions, events = _rows()
    pairs = set()
    for anchor in admissions:
        candidates = [event for event in events if _is_inside(anchor, event, window, strict)]
        candidates.sort(key=lambda event: (event["charttime"], event["event id"]))
        chosen = {"earliest": candidates[:1], "latest": candidates[-1:], "all": candidates}[window.pick]
        pairs |= {(anchor["hadm_id"], event["event id"]) for event in chosen}
    return pairs


@pytest.mark.parametrize("pick", ["earliest", "latest", "all"])
@pytest.mark.parametrize("strict", [False, True])
def test_events_equal_those_of_a_loop(connection: duckdb.DuckDBPyConnection, pick: str, strict: bool) -> None:
    for window in (Window(lower=-24, upper=24, pick=pick), Window(lower=24, upper=72, after_lower=True, pick=pick)):
        report = link(connection, ANCHORS, EVENTS, window, strict=strict).df()
        pairs = list(zip(report["anchor_id"], report["event id"], strict=True))
        assert len(pairs) == len(set(pairs))
        assert set(pairs) == _expected(window, strict)
        # Nothing measured a day later is known at admission.
        assert bool(pairs) == (not strict or window.lower < 0)


@pytest.mark.parametrize("pick", ["earliest", "latest"])
def test_items_equal_those_of_a_loop(connection: duckdb.DuckDBPyConnection, pick: str) -> None:
    window, items = Window(lower=-24, upper=24, pick=pick), [50912, 50802]
    report = link_items(connection, ANCHORS, EVENTS, window, item="itemid", value="valuenum", items=items).df()
    assert list(report.columns) == ["anchor_id", "50912", "50802"]
    rows = report.set_index("anchor_id")
    admissions, events = _rows()
    count = 0
    for anchor in admissions:
        for item in items:
            candidates = [
                event for event in events
                if event["itemid"] == item and event["valuenum"] == event["valuenum"]
                and _is_inside(anchor, event, window, strict=False)
            ]  # fmt: skip
            candidates.sort(key=lambda event: (event["charttime"], event["event id"]))
            value = rows[str(item)].get(anchor["hadm_id"], np.nan)
            if not candidates:
                assert np.isnan(value)
                continue
            count += 1
            assert value == candidates[0 if pick == "earliest" else -1]["valuenum"]
    assert count > 20


def test_invalid_windows_and_links_are_refused(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ValueError, match="expected lower at most upper"):
        Window(lower=3, upper=1)
    with pytest.raises(ValueError, match="pick='any'"):
        Window(lower=0, upper=1, pick="any")
    unknown = Events(table="events", id="event id", patient="subject_id", time="charttime")
    with pytest.raises(ValueError, match="does not say when results were known; set `available`"):
        link(connection, ANCHORS, unknown, Window(lower=0, upper=1), strict=True)
    window = Window(lower=0, upper=1, pick="all")
    with pytest.raises(ValueError, match="got pick 'all' and 1 items"):
        link_items(connection, ANCHORS, EVENTS, window, item="itemid", value="valuenum", items=[1])
