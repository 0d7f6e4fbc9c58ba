"""De-identified events keep codes, numbers and intervals, and nothing that names a patient."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from polyclinic.cohort.meds import MedsDataset, write_meds
from polyclinic.modality import EventWindow, Identity, UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic_timeline import Timeline

NAME = "Doe^John"
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="47114711", names=(NAME, "Doe", "John"))
HEAD = "time,code,value,unit,anchor,mrn\n"


def cleaned(tmp_path: Path, rows: str):  # type: ignore[no-untyped-def]
    (tmp_path / f"{NAME}.csv").write_text(HEAD + rows)
    (tmp_path / "out").mkdir()
    return Timeline().deidentify(tmp_path / f"{NAME}.csv", tmp_path / "out" / "abc", IDENTITY, suspects=False)


def test_times_are_shifted_together_and_nothing_else_changes(tmp_path: Path) -> None:
    timeline, rng = Timeline(), np.random.default_rng(0)
    source = timeline.phantom(Patient(rng).visit(rng), rng, tmp_path / "a")
    copy = timeline.deidentify(source, tmp_path / "b", IDENTITY, suspects=False)
    before, after = timeline.read(source), timeline.read(copy.source)
    np.testing.assert_allclose(after.hours, before.hours, atol=1e-9)
    np.testing.assert_array_equal(after.values, before.values)
    assert (after.codes, after.texts, after.units) == (before.codes, before.texts, before.units)
    assert (after.anchor - before.anchor).days == IDENTITY.days
    assert copy.removed == {"dates": len(before)}


def test_names_ids_births_ages_dates_and_free_text_are_left_out(tmp_path: Path) -> None:
    day = "2024-01-01T10:00"
    tail = ",2024-01-02T00:00,47114711\n"
    rows = "".join(
        f"{day},{code},{value},{unit}{tail}"
        for code, value, unit in [
            ("sodium", "138.5", "mmol/L"),
            ("culture", "positive", ""),
            ("culture", "Dr John Doe called", ""),
            ("note", "seen by the team and sent home with advice and will return", ""),
            ("note", "on 2024-01-01", ""),
            ("MEDS_BIRTH", "", ""),
            ("birth date", "1931-05-05", ""),
            ("age", "93", ""),
            ("order", "47114711", ""),
            ("seen by Doe", "1", ""),
            ("weight", "70", "John"),
        ]
    )
    copy = cleaned(tmp_path, rows)
    text = copy.source.read_text()
    assert not any(word in text for word in ("Doe", "John", "47114711", "1931", "mrn", "2024-01", "team", "93"))
    table = pd.read_csv(copy.source, keep_default_na=False, dtype=str)
    assert list(table.columns) == [
        "time", "code", "value", "text", "unit", "reference_low", "reference_high", "anchor",
    ]  # fmt: skip
    assert list(zip(table.code, table.value, table.text, table.unit, strict=True)) == [
        ("sodium", "138.5", "", "mmol/L"),
        ("culture", "", "positive", ""),
        ("culture", "", "", ""),
        ("note", "", "", ""),
        ("note", "", "", ""),
        ("age", "90", "", ""),
        ("order", "", "", ""),
        ("weight", "70", "", ""),
    ]
    assert copy.removed == {
        "texts": 4, "dates of birth": 2, "ages": 1, "numbers too long for a measurement": 1,
        "events whose code may name somebody": 1, "dates": 8,
    }  # fmt: skip
    assert Timeline().read(copy.source).anchored


def test_a_course_of_births_alone_or_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="no event remains"):
        cleaned(tmp_path, "2024-01-01,MEDS_BIRTH,,,2024-01-02,1\n")
    (tmp_path / "early.csv").write_text("time,code,value\n0001-01-01,a,1\n")
    with pytest.raises(UnreadableSource, match="out of range"):
        Timeline().deidentify(tmp_path / "early.csv", tmp_path / "b", IDENTITY, suspects=False)


def test_a_window_becomes_a_file_with_the_time_of_the_study(tmp_path: Path) -> None:
    times = pd.to_datetime(["2024-01-01T10:00", "2024-01-01T12:00"])
    events = {"subject_id": [1, 1], "time": times, "code": ["a", "b"], "numeric_value": [1.5, 2.5], "unit": ["g", None]}
    write_meds(tmp_path / "meds", pd.DataFrame(events), dataset_name="ward")
    [file] = MedsDataset(tmp_path / "meds").shards
    window = EventWindow(file, 1, datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 1, 14))
    copy = Timeline().deidentify(window, tmp_path / "b", IDENTITY, suspects=False)
    before, after = Timeline().read(window), Timeline().read(copy.source)
    np.testing.assert_allclose(after.hours, before.hours)
    np.testing.assert_allclose(before.hours, [-4, -2])
    assert (after.codes, after.units, after.anchored) == (("a", "b"), ("g", ""), True)
