"""Reading events: equivalent spellings give the same course, and what cannot be read is refused without its content."""

import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyclinic.modality import EventWindow, Recognised, UnreadableSource
from polyclinic_ecg import ECG
from polyclinic_tabular import Tabular
from polyclinic_timeline import Timeline

HEAD = "time,code,value,unit\n"
ROWS = "2024-01-01T10:00,sodium,138,mmol/L\n2024-01-01T16:30,culture,positive,\n2024-01-01T20:00,sodium,,mmol/L\n"


def read(tmp_path: Path, text: str, name: str = "doe_john.csv"):  # type: ignore[no-untyped-def]
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return Timeline().read(tmp_path / name)


def test_values_texts_and_hours_are_read_as_written(tmp_path: Path) -> None:
    course = read(tmp_path, HEAD + ROWS)
    np.testing.assert_allclose(course.hours, [-10, -3.5, 0])
    np.testing.assert_array_equal(course.values, [138, np.nan, np.nan])
    assert course.codes == ("sodium", "culture", "sodium")
    assert course.texts == ("", "positive", "")
    assert course.units == ("mmol/L", "", "mmol/L")
    assert (course.anchor, course.anchored) == (datetime(2024, 1, 1, 20), False)


@pytest.mark.parametrize(
    "text",
    [
        "Unit,VALUE,Code,TIME\n" + "mmol/L,138,sodium,2024-01-01 10:00\n,positive,culture,2024-01-01T16:30:00\n"
        + "mmol/L,nan,sodium,20240101T2000\n",
        "\ufeff" + HEAD + "".join(reversed(ROWS.splitlines(keepends=True))),
        HEAD + ROWS.replace(":00,", ":00Z,").replace(":30,", ":30+00:00,"),
        HEAD + ROWS + ",sex,F,\n",
        "time,code,numeric_value,text_value,unit\n2024-01-01T10:00,sodium,138,,mmol/L\n2024-01-01T16:30,culture,,"
        "positive,\n2024-01-01T20:00,sodium,,,mmol/L\n",
    ],
)  # fmt: skip
def test_other_spellings_of_the_same_events_are_the_same_course(tmp_path: Path, text: str) -> None:
    expected, course = read(tmp_path, HEAD + ROWS), read(tmp_path, text)
    np.testing.assert_array_equal(course.hours, expected.hours)
    np.testing.assert_array_equal(course.values, expected.values)
    assert (course.codes, course.texts, course.units) == (expected.codes, expected.texts, expected.units)


def test_parquet_and_csv_are_the_same_course(tmp_path: Path) -> None:
    expected = read(tmp_path, HEAD + ROWS)
    times = pd.to_datetime(["2024-01-01T10:00", "2024-01-01T16:30", "2024-01-01T20:00"])
    typed = {"time": times, "code": expected.codes, "numeric_value": [138.0, None, None]}
    pd.DataFrame(typed | {"text_value": ["", "positive", None], "unit": ["mmol/L", None, "mmol/L"]}).to_parquet(
        tmp_path / "a.parquet"
    )
    course = Timeline().read(tmp_path / "a.parquet")
    np.testing.assert_array_equal(course.values, expected.values)
    np.testing.assert_array_equal(course.hours, expected.hours)
    assert (course.codes, course.texts, course.units) == (expected.codes, expected.texts, expected.units)


def test_order_zone_and_time_of_the_study(tmp_path: Path) -> None:
    rows = "2024-01-01T12:00+02:00,b,2,,2024-01-01T11:00Z\n2024-01-01T09:00Z,a,1,,2024-01-01T13:00+02:00\n"
    course = read(tmp_path, "time,code,value,unit,anchor\n" + rows)
    assert course.codes == ("a", "b")
    np.testing.assert_allclose(course.hours, [-2, -1])
    assert course.anchored
    assert course.facts == {"without_time": 0.0, "out_of_order": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        (HEAD, "0 events"),
        ("time,value,unit\n2024-01-01,1,\n", "without a column code"),
        ("code,value\na,1\n", "without a column time"),
        ("time,code\n2024-01-01,a\n", "without a column value"),
        ("time,code,value,Code\n2024-01-01,a,1,b\n", "occurs twice"),
        (HEAD + "2024-01-01,a,1\n", "rows of the same length"),
        (HEAD + "2024-01-01,,1,\n", "1 of 1 events have no code"),
        (HEAD + ",a,1,\n", "none of its events has a time"),
        (HEAD + "secret,a,1,\n", "not in ISO 8601"),
        (HEAD + "31/12/2024,a,1,\n", "not in ISO 8601"),
        (HEAD + "2024-01-01T10:00Z,a,1,\n2024-01-01T11:00,a,1,\n", "some times have a zone"),
        (HEAD + "2024-01-01,a,inf,\n", "1 values are infinite"),
        (HEAD + "2024-01-01,a,1e999,\n", "1 values are infinite"),
        (HEAD + '2024-01-01,"a,1,\n', "cannot be parsed"),
        ("patient_id," + HEAD + "1,2024-01-01,a,1,\n2,2024-01-01,a,1,\n", "events of 2 patients"),
        ("anchor," + HEAD + "2024-01-01,2024-01-01,a,1,\n2024-01-02,2024-01-01,a,1,\n", "not the same time"),
    ],
)
def test_what_is_not_a_course_is_refused_without_its_content(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnreadableSource, match=message) as refused:
        read(tmp_path, text)
    assert "secret" not in str(refused.value)
    assert "doe_john" not in str(refused.value)


def test_broken_parquet_and_other_sources_are_refused(tmp_path: Path) -> None:
    table = pa.table({"time": ["2024-01-01"], "code": ["a"], "value": [1.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for end in (4, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.parquet").write_bytes(whole[:end])
        with pytest.raises(UnreadableSource, match="Parquet cannot be read"):
            Timeline().read(tmp_path / "a.parquet")
    for wrong in (
        {"time": [1.5], "code": ["a"], "value": [1.0]},
        {"time": ["2024-01-01"], "code": ["a"], "value": [[1.0]]},
        {"time": ["2024-01-01"], "code": [{"a": 1}], "value": [1.0]},
        {"time": ["2024-01-01"], "code": ["a"], "value": [float("inf")]},
    ):
        pq.write_table(pa.table(wrong), tmp_path / "b.parquet")
        with pytest.raises(UnreadableSource):
            Timeline().read(tmp_path / "b.parquet")
    pq.write_table(
        pa.table({"time": ["2024-01-01"], "code": ["qqqq"], "value": [1.0]}), tmp_path / "c.parquet", compression="NONE"
    )
    (tmp_path / "c.parquet").write_bytes((tmp_path / "c.parquet").read_bytes().replace(b"qqqq", b"\xff\xfe\xff\xfe"))
    with pytest.raises(UnreadableSource):
        Timeline().read(tmp_path / "c.parquet")
    for source in ("text", {"a": "1"}):
        with pytest.raises(UnreadableSource, match="expected a file of events"):
            Timeline().read(source)
    window = EventWindow(tmp_path / "no", 1, datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 2))
    with pytest.raises(UnreadableSource, match="events cannot be read"):
        Timeline().read(window)


def test_a_million_events_are_read_and_the_latest_are_used(tmp_path: Path) -> None:
    count = 1_000_000
    times = (np.datetime64("2024-01-01", "us") + np.arange(count) * np.timedelta64(1, "s")).astype("datetime64[us]")
    pq.write_table(
        pa.table({"time": times, "code": ["a", "b"] * (count // 2), "value": np.arange(count) / 7}), tmp_path / "a"
    )
    started = time.process_time()
    timeline = Timeline(max_events=50, min_count=1)
    course = timeline.read(tmp_path / "a")
    timeline.fit([course])
    item = timeline.prepare(course)
    assert time.process_time() - started < 20
    assert len(item["code"]) == 50
    assert float(item["hours"][-1]) == 0
    assert timeline.notes(course) == ("of 1000000 events, the latest 50 are used; see `max_events`",)


def test_units_and_codes_that_training_did_not_have_are_counted_and_not_used(tmp_path: Path) -> None:
    def course(hour: int, value: float, unit: str, code: str = "glucose"):  # type: ignore[no-untyped-def]
        return read(tmp_path, f"{HEAD}2024-01-01T{hour:02d}:00,{code},{value},{unit}\n")

    timeline = Timeline(plausible={"glucose": [0, 60]})
    timeline.fit([course(hour, 5 + hour / 10, "mmol/L") for hour in range(10)] + [course(1, 90, "mg/dL")])
    [scale] = timeline.state()["scales"].values()
    assert (scale["unit"], scale["centre"]) == ("mmol/L", pytest.approx(5.45))
    quartiles = np.percentile([5 + hour / 10 for hour in range(10)], [25, 75])
    assert scale["spread"] == pytest.approx(np.diff(quartiles)[0] / 1.349)
    same = timeline.prepare(course(1, 6, "MMOL/l"))
    assert bool(same["observed"][0])
    assert float(same["values"][0]) == pytest.approx((6 - 5.45) / scale["spread"], rel=1e-5)
    for unit in ("mg/dL", "furlong", ""):
        other = course(1, 6, unit)
        assert not bool(timeline.prepare(other)["observed"][0])
        assert timeline.notes(other) == ("not used, as their unit is not that of training: 1 values",)
    unknown = course(1, 6, "mmol/L", "x")
    assert timeline.prepare(unknown)["code"].tolist() == [1]
    assert timeline.notes(unknown) == ("events with a code that training did not have: 1 of 1",)
    assert not bool(timeline.prepare(course(1, 61, "mmol/L"))["observed"][0])


def test_settings_out_of_range_and_states_of_others_are_refused() -> None:
    for wrong in ({"max_events": 0}, {"drop": 1.0}, {"noise": -1}, {"plausible": {"a": [2, 1]}}, {"min_count": 0}):
        with pytest.raises(ValueError, match="expected"):
            Timeline(**wrong)
    with pytest.raises(ValueError, match="set `max_codes`"):
        Timeline(max_codes=1).load_state({"codes": ["a", "b"], "scales": {}})
    with pytest.raises(ValueError, match="call `fit`"):
        Timeline().baseline()
    with pytest.raises(ValueError, match="no code that occurs in 2"):
        Timeline().fit([])


def test_scans_tell_events_from_cells_and_signals(tmp_path: Path) -> None:
    files = {
        "events.csv": HEAD + ROWS,
        "one_event.csv": HEAD + ROWS.splitlines()[0] + "\n",
        "cells.csv": "name,value,unit\nsodium,138,mmol/L\n",
        "row.csv": "sodium,age\n138,60\n",
        "signal.csv": "time,I,II\n" + "".join(f"{n / 500},{n % 7},{n % 5}\n" for n in range(2000)),
    }
    takers: dict[str, list[str]] = {name: [] for name in files}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        for plugin in (Timeline(), Tabular(), ECG()):
            try:
                plugin.recognise(tmp_path / name)
                takers[name].append(type(plugin).__name__)
            except UnreadableSource:
                continue
    assert takers["events.csv"] == takers["one_event.csv"] == ["Timeline"]
    assert takers["cells.csv"] == takers["row.csv"] == ["Tabular"]
    assert "Timeline" not in takers["signal.csv"]
    assert Timeline().recognise(tmp_path / "events.csv") == Recognised(time="2024-01-01T20:00:00")
