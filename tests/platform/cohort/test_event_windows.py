"""Windows of events of a MEDS dataset as sources of a cohort."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from polyclinic.cohort import Cohort, read_cohort
from polyclinic.cohort.content_index import source_digest
from polyclinic.cohort.meds import write_meds
from polyclinic.modality import EventWindow, UnreadableSource, read_events

SPEC = """table: studies.csv
study_id: id
patient_id: patient
split: split
modalities: {{labs: {{meds: ward, time: time, {more}}}}}
"""
HOURS = np.arange(-60, 12, 3)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ward")
    rng = np.random.default_rng(0)
    events = [
        {
            "subject_id": subject,
            "time": datetime(2024, 1, 1) + timedelta(days=subject % 50, hours=float(hour)),
            "code": str(rng.choice(["sodium", "lactate"])),
            "numeric_value": float(subject),
            "unit": "mmol/L",
        }
        for subject in range(100, 400)
        for hour in rng.permutation(HOURS)
    ]
    facts = [{"subject_id": 100, "time": None, "code": "sex", "numeric_value": None, "unit": None}]
    write_meds(folder / "ward", pd.DataFrame([*events, *facts]), dataset_name="ward", shard_rows=3000)
    return folder / "ward"


def cohort(ward: Path, folder: Path, rows: str, more: str = "before: 24h") -> Cohort:
    if not (folder / "ward").exists():
        (folder / "ward").symlink_to(ward)
    (folder / "studies.csv").write_text(f"id,patient,split,time,mrn\n{rows}")
    (folder / "cohort.yaml").write_text(SPEC.format(more=more))
    return read_cohort(folder / "cohort.yaml")


def test_the_window_holds_the_events_that_a_scan_of_everything_finds(ward: Path, tmp_path: Path) -> None:
    rows = "".join(f"s{n},{n},train,2024-01-{1 + n % 20:02d}T06:00,x\n" for n in range(90, 410))
    read = cohort(ward, tmp_path, rows, "before: 24h, after: 90min, codes: [lactate]")
    table = pd.concat([pq.read_table(path).to_pandas() for path in sorted((ward / "data").iterdir())])
    found = 0
    for study in read.studies:
        anchor = datetime(2024, 1, 1 + int(study.patient_id) % 20, 6)
        late = table.time.le(anchor + timedelta(minutes=90)) & table.time.ge(anchor - timedelta(hours=24))
        expected = table[late & table.subject_id.eq(int(study.patient_id)) & table.code.eq("lactate")]
        if "labs" not in study.sources:
            assert expected.empty
            continue
        source = study.sources["labs"]
        assert isinstance(source, EventWindow)
        events = read_events(source).to_pandas()
        assert events.time.is_monotonic_increasing
        assert events.time.tolist() == sorted(expected.time.tolist())
        assert set(events.unit) == {"mmol/L"}
        found += len(events)
    assert found > 200


def test_both_ends_of_the_window_are_inside_and_facts_without_a_time_are_not(ward: Path, tmp_path: Path) -> None:
    read = cohort(ward, tmp_path, "s,100,train,2024-01-01,x\n", "before: 3h, after: 3h")
    source = read.studies[0].sources["labs"]
    assert isinstance(source, EventWindow)
    times = [value.hour for value in read_events(source)["time"].to_pylist()]
    assert times == [21, 0, 3]


def test_a_study_without_events_time_or_subject_lacks_the_modality(ward: Path, tmp_path: Path) -> None:
    rows = "a,100,train,2024-01-01,100\nb,101,train,,101\nc,102,train,2030-01-01,102\nd,103,train,2024-01-04,\n"
    read = cohort(ward, tmp_path, f"{rows}e,9,train,2024-01-04,9\n", "before: 24h, subject: mrn")
    assert [study.study_id for study in read.studies if study.sources] == ["a"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("secret", "not in ISO 8601"),
        ("31.12.2024 10:00", "not in ISO 8601"),
        ("2024-01-01T10:00:00Z", "a time with a zone"),
        ("2024-01-01T10:00+02:00", "a time with a zone"),
        ("0001-01-01", "outside 1700 to 2200"),
        ("9999-12-31T23:59", "outside 1700 to 2200"),
    ],
)
def test_a_time_that_is_none_is_refused_by_study(ward: Path, tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        cohort(ward, tmp_path, f"s1,100,train,2024-01-01,1\ns2,101,train,{row},1\n")
    assert "'s2'" in str(refused.value)
    assert row not in str(refused.value)


def test_a_patient_id_that_is_not_an_integer_is_refused_and_a_column_helps(ward: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 studies \(such as \['s'\]\) have a subject that is not an integer"):
        cohort(ward, tmp_path, "s,P100,train,2024-01-01,100\n")
    read = cohort(ward, tmp_path, "s,P100,train,2024-01-01,100\n", "subject: mrn")
    assert read.studies[0].sources["labs"].subject == 100  # type: ignore[union-attr]


def test_broken_datasets_are_refused_by_setting(ward: Path, tmp_path: Path) -> None:
    row = "s,100,train,2024-01-01,100\n"
    with pytest.raises(ValueError, match="` has no `metadata"):
        cohort(tmp_path, tmp_path, row)
    (tmp_path / "ward").unlink()
    shutil.copytree(ward, tmp_path / "ward")
    shard = tmp_path / "ward" / "data" / "0.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"^file 1 of the dataset of .* is cut off"):
        cohort(ward, tmp_path, row)
    shard.write_bytes(b"")
    with pytest.raises(ValueError, match=r"^file 1 of the dataset of .* is cut off"):
        cohort(ward, tmp_path, row)
    for wrong in ({"time": "when"}, {"code": "what"}, {"subject_id": "who"}):
        pq.write_table(pq.read_table(ward / "data" / "0.parquet").rename_columns(_renamed(ward, wrong)), shard)
        with pytest.raises(ValueError, match=f"lacks {next(iter(wrong))}"):
            cohort(ward, tmp_path, row)
    pq.write_table(pq.read_table(ward / "data" / "1.parquet"), shard)
    subject = pq.read_table(shard)["subject_id"][0].as_py()
    with pytest.raises(ValueError, match="one subject in two files"):
        cohort(ward, tmp_path, f"s,{subject},train,2024-01-{1 + subject % 50:02d},1\n", "before: 9d, after: 9d")


def _renamed(ward: Path, names: dict[str, str]) -> list[str]:
    return [names.get(name, name) for name in pq.read_schema(ward / "data" / "0.parquet").names]


def test_a_file_that_breaks_after_the_cohort_was_read_is_unreadable(ward: Path, tmp_path: Path) -> None:
    shutil.copytree(ward, tmp_path / "ward")
    read = cohort(ward, tmp_path, "s,100,train,2024-01-01,100\n")
    source = read.studies[0].sources["labs"]
    assert isinstance(source, EventWindow)
    assert len(read_events(source)) == 9
    source.file.write_bytes(source.file.read_bytes()[:-9])
    with pytest.raises(UnreadableSource, match="copy the MEDS dataset again") as refused:
        read_events(source)
    assert str(tmp_path) not in str(refused.value)


def test_fingerprint_and_digest_follow_window_and_content(ward: Path, tmp_path: Path) -> None:
    row = "s,100,train,2024-01-01,100\n"
    first, again, other = (cohort(ward, tmp_path, row, f"before: {hours}h") for hours in (24, 24, 48))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    sources = [read.studies[0].sources["labs"] for read in (first, again, other)]

    class Plugin:
        def files(self, source: EventWindow) -> tuple[Path, ...]:
            return (source.file,)

    digests = [source_digest(source, Plugin(), {source.file: "a"}) for source in sources]  # type: ignore[arg-type, union-attr]
    assert digests[0] == digests[1] != digests[2]
