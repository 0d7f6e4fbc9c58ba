"""Building a cohort from a data set: nothing written to it, no partial output, nothing left out silently."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

from layouts.planted import TABLE, Planted, write_planted
from polyclinic.cli import main
from polyclinic.cohort import read_cohort
from polyclinic.cohort.build import build_cohort

pytestmark = pytest.mark.processes

SLOW = 0.05


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_planted(tmp_path / "data" / "planted")
    return tmp_path / "data"


def _build(root: Path, out: Path, *, memory: str = "500MB", workers: int = 1, **settings: object) -> dict[str, object]:
    builder = Planted(looked=out.parent / "looked", **settings)  # type: ignore[arg-type]
    build_cohort(builder, name="planted", root=root, out=out, memory=memory, workers=workers)
    report: dict[str, object] = json.loads((out / "build-report.json").read_text())
    return report


def _looks(out: Path) -> Counter[str]:
    return Counter((out.parent / "looked").read_text().split())


def _table(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "cohort.parquet")


def test_every_row_that_is_left_out_is_in_the_flow(root: Path, tmp_path: Path) -> None:
    report = _build(root, tmp_path / "out")
    assert report["flow"] == [
        {
            "description": "rows in list.csv",
            "start": 6,
            "events": [
                {"kind": "excluded", "reason": "no value", "rows": 1},
                {"kind": "counted", "reason": "negative", "rows": 1},
                {"kind": "excluded", "reason": "cannot be used", "rows": 1},
            ],
            "remain": 4,
        }
    ]
    assert report["studies"] == {"train": 1, "val": 1, "test": 2}
    assert report["patients"] == {"train": 1, "val": 1, "test": 1}
    assert _table(tmp_path / "out")["study_id"].tolist() == [2, 4, 5, 6]
    cohort = read_cohort(tmp_path / "out" / "cohort.yaml")
    assert [study.labels for study in cohort.studies] == [(-0.5,), (4.25,), (5.25,), (6.25,)]
    assert cohort.population == "planted"


def test_only_the_result_and_the_lock_are_left(root: Path, tmp_path: Path) -> None:
    _build(root, tmp_path / "place" / "out")
    names = {path.name for path in (tmp_path / "place").iterdir()}
    assert names - {".out.lock"} == {"out", "looked"}
    assert {path.name for path in (tmp_path / "place" / "out").iterdir()} == {
        "cohort.parquet", "cohort.yaml", "build-report.json",
    }  # fmt: skip


def test_a_read_only_root_is_sufficient_and_stays_unchanged(root: Path, tmp_path: Path) -> None:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    try:
        _build(root, tmp_path / "out")
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("data/out", "`--out` lies in the data root, to which nothing is written; choose another"),
        ("data/planted/notes/../out", "`--out` lies in the data root"),
        ("link/out", "`--out` lies in the data root"),
        ("what?/out", "`--out` has a question mark in its path"),
        ("taken", "folder 'taken' already exists; choose another `--out` or remove it"),
        ("data", "folder 'data' already exists"),
    ],
)
def test_out_must_be_a_new_folder_outside_the_root(root: Path, tmp_path: Path, where: str, message: str) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "link").symlink_to(root)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message):
        build_cohort(Planted(looked=tmp_path / "looked"), name="planted", root=root, out=tmp_path / where)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unwritable_place_is_reported(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"a file cannot be read or written: .*; check permissions and disk space"):
        build_cohort(Planted(looked=tmp_path / "looked"), name="planted", root=root, out=tmp_path / "file" / "out")


def test_a_root_that_is_not_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    for root in (tmp_path / "absent", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match=rf"got root '{root.name}', which is not a folder; set `--root`"):
            _build(root, tmp_path / "out")


def test_a_failed_build_leaves_no_result_and_does_not_check_usable_files_again(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="the builder failed"):
        _build(root, out, fails=True)
    assert not out.exists()
    with pytest.raises(RuntimeError, match="the builder failed"):
        _build(root, out, fails=True)
    assert _looks(out) == {"2.txt": 1, "3.txt": 2, "4.txt": 1, "5.txt": 1, "6.txt": 1}
    (root / "planted" / "notes" / "3.txt").write_text("fetched again")
    with pytest.raises(RuntimeError, match="the builder failed"):
        _build(root, out, fails=True)
    assert _looks(out)["3.txt"] == 3
    with pytest.raises(RuntimeError, match="the builder failed"):
        _build(root, out, fails=True)
    assert _looks(out)["3.txt"] == 3


def test_other_settings_or_another_root_start_over(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError):
        _build(root, out, fails=True)
    _build(root, out, label="amplitude")
    assert set(_looks(out).values()) == {2}
    write_planted(tmp_path / "elsewhere")
    elsewhere = tmp_path / "later" / "out"
    elsewhere.parent.mkdir()
    with pytest.raises(RuntimeError):
        _build(root, elsewhere, fails=True)
    with pytest.raises(RuntimeError):
        _build(tmp_path / "elsewhere", elsewhere, fails=True)
    assert set(_looks(elsewhere).values()) == {2}


def test_a_file_that_was_missing_and_is_now_present_is_used(root: Path, tmp_path: Path) -> None:
    out, note = tmp_path / "out", root / "planted" / "notes" / "5.txt"
    content = note.read_text()
    note.unlink()
    with pytest.raises(RuntimeError):
        _build(root, out, fails=True)
    note.write_text(content)
    with pytest.raises(RuntimeError):
        _build(root, out, fails=True)
    assert _looks(out) == {"2.txt": 1, "3.txt": 2, "4.txt": 1, "5.txt": 1, "6.txt": 1}


def _killed_in_the_middle(root: Path, out: Path) -> None:
    """Kill a build by another process that checks five files at a time, after more than ten."""
    script = dedent(f"""
        from pathlib import Path
        import polyclinic.cohort.build.data_root as inside
        from layouts.planted import Planted
        from polyclinic.cohort.build import build_cohort
        inside._CHUNK_FILES = 5
        builder = Planted(looked=Path({str(out.parent / "looked")!r}), seconds={SLOW})
        build_cohort(builder, name="planted", root=Path({str(root)!r}), out=Path({str(out)!r}), workers=1)
    """)
    tests = str(Path(__file__).parents[3] / "support")
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": tests})
    deadline = time.monotonic() + 300
    while not (out.parent / "looked").exists() or _looks(out).total() < 12:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(SLOW / 5)
    try:
        with pytest.raises(ValueError, match="another build to 'out' is running; wait for it"):
            _build(root, out, seconds=SLOW)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_killed_build_continues_where_it_stopped_with_the_same_result(tmp_path: Path) -> None:
    write_planted(tmp_path / "data", studies=40)
    killed, uninterrupted = tmp_path / "killed" / "out", tmp_path / "whole" / "out"
    for out in (killed, uninterrupted):
        out.parent.mkdir()
    _killed_in_the_middle(tmp_path / "data", killed)
    assert not killed.exists()
    before = _looks(killed).total()
    report = _build(tmp_path / "data", killed, seconds=SLOW)
    expected = _build(tmp_path / "data", uninterrupted, seconds=SLOW)
    repeated = [name for name, times in _looks(killed).items() if times > 1]
    # At most the five files that were being checked when it was killed, and the damaged one.
    assert len(repeated) <= 6 < before
    assert len(_looks(killed)) == 39
    assert _table(killed).equals(_table(uninterrupted))
    assert report["flow"] == expected["flow"]
    assert report["tables"] == expected["tables"]
    assert (killed / "cohort.yaml").read_text() == (uninterrupted / "cohort.yaml").read_text()


def test_files_are_checked_by_several_processes(tmp_path: Path) -> None:
    write_planted(tmp_path / "data", studies=210)
    report = _build(tmp_path / "data", tmp_path / "out", workers=2)
    assert report["studies"] == {"train": 69, "val": 69, "test": 70}
    assert _looks(tmp_path / "out").total() == 209


@pytest.mark.parametrize(
    "name", ["an 'apostrophe'", 'a "quote"', "Zürich — 心電図", "50% {id}", "a*b", "[ab]", "what?"]
)
def test_folders_may_have_any_name(tmp_path: Path, name: str) -> None:
    write_planted(tmp_path / name / "data")
    # This folder is what the name would match as a pattern.
    write_planted(tmp_path / "axb" / "data", studies=4)
    write_planted(tmp_path / "a" / "data", studies=4)
    refilled = f"made {name}".replace("?", "")
    (tmp_path / refilled).mkdir()
    out = tmp_path / refilled / refilled
    _build(tmp_path / name, out)
    assert _table(out)["study_id"].tolist() == [2, 4, 5, 6]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_table_may_be_compressed(tmp_path: Path, compressed: bool) -> None:
    write_planted(tmp_path / "data", compressed=compressed)
    report = _build(tmp_path / "data", tmp_path / "out")
    stored = tmp_path / "data" / (f"{TABLE}.gz" if compressed else TABLE)
    assert report["tables"][TABLE]["bytes"] == stored.stat().st_size  # type: ignore[index]
    assert _table(tmp_path / "out")["study_id"].tolist() == [2, 4, 5, 6]


def test_a_data_set_must_be_found_once_below_the_root_or_the_error_lists_where(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got 0 folders with list\.csv up to 3 levels below the root, expected one"):
        _build(root / "planted" / "notes", tmp_path / "out")
    write_planted(root / "copy" / "of")
    with pytest.raises(ValueError, match=r"got 2 folders .* \(copy/of, planted\), expected one; set `--root`"):
        _build(root, tmp_path / "out")
    assert _build(root / "copy", tmp_path / "out")["studies"] == {"train": 1, "val": 1, "test": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7,1,train,Smith,notes/4.txt\n", "1 cells of value in list.csv are not of type DOUBLE"),
        ('7,1,train,O\'Neil "x",notes/4.txt\n8,1,train,Smith,notes/4.txt\n', "2 cells of value in list.csv are no"),
        ("7,Smith,train,1,notes/4.txt\n", "1 cells of patient in list.csv are not of type BIGINT"),
        ("7,1,train,1,notes/4.txt,Smith\n", r"CSV Error on Line: 8 \(file list\.csv\)"),
        ("7,1,train,Smith\n", r"CSV Error on Line: 8 \(file list\.csv\)"),
        ('7,1,train,1,"Smith\n', r"CSV Error on Line: 8 \(file list\.csv\)"),
        ("7,1,train,1,Smith\udcff\n", r"CSV Error on Line: 8 \(file list\.csv\)"),
        ("7,1,elsewhere,1,notes/4.txt\n", "study '7' has split 'elsewhere', expected one of"),
        ("4,1,val,1,notes/4.txt\n", r"duplicate study ids \['4'\]"),
        ("7,1,train,1,notes/4.txt\n", "1 patients are in more than one split"),
    ],
)
def test_a_bad_row_is_reported_without_its_content(root: Path, tmp_path: Path, text: str, message: str) -> None:
    with (root / "planted" / TABLE).open("a", errors="surrogateescape") as stream:
        stream.write(text)
    with pytest.raises(ValueError, match=message) as raised:
        _build(root, tmp_path / "out")
    assert "Smith" not in str(raised.value)
    assert "Neil" not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_rows_after_the_header_are_neither_skipped_nor_mistaken_for_it(root: Path, tmp_path: Path) -> None:
    table = root / "planted" / TABLE
    table.write_bytes(
        b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n") + b'#7,1,"val",1,\r\n8, 1 ,val,"1.5","notes/4.txt"'
    )
    with pytest.raises(ValueError, match=r"1 cells of id in list\.csv are not of type BIGINT"):
        _build(root, tmp_path / "out")
    table.write_bytes(table.read_bytes().replace(b"#7", b"7"))
    assert _build(root, tmp_path / "out")["studies"] == {"train": 1, "val": 3, "test": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "list.csv has no column 'id', it has []; is this another version of the data?"),
        (b"id,patient,split,value\n1,1,train,1\n", "list.csv has no column 'file'"),
        (b"id,patient,split,value,file,file\n", "list.csv has 2 columns 'file'"),
        (b"id,patient,split,value,file\n", "no study remains after the exclusions"),
        (b"\xff\xfe\x00", "list.csv has no column 'id', it has ["),
    ],
)
def test_a_table_without_rows_or_columns_is_refused(root: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (root / "planted" / TABLE).write_bytes(content)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        _build(root, tmp_path / "out")
    assert message in str(raised.value)


@pytest.mark.parametrize("damage", [lambda whole: whole[:40], lambda whole: b"not compressed", lambda whole: b""])
def test_a_compressed_table_that_is_incomplete_is_refused(tmp_path: Path, damage: object) -> None:
    write_planted(tmp_path / "data", studies=3000, compressed=True)
    table = tmp_path / "data" / f"{TABLE}.gz"
    table.write_bytes(damage(table.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"list\.csv") as raised:
        _build(tmp_path / "data", tmp_path / "out")
    assert str(tmp_path) not in str(raised.value)
    table.write_bytes(gzip.compress(b"id,patient,split,value,file\n1,2,train,1,notes/4.txt\n" * 2)[:-9])
    with pytest.raises(ValueError, match=r"list\.csv|GZIP") as raised:
        _build(tmp_path / "data", tmp_path / "out")
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(
    ("memory", "workers", "message"),
    [
        ("lots", 1, "got memory 'lots' and workers 1"),
        ("4GB", 0, "got memory '4GB' and workers 0"),
        ("4GB", -2, "got memory '4GB' and workers -2"),
    ],
)
def test_impossible_sizes_are_refused(root: Path, tmp_path: Path, memory: str, workers: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _build(root, tmp_path / "out", memory=memory, workers=workers)
    assert not (tmp_path / "out").exists()


def test_the_command_reports_an_unknown_builder_and_a_missing_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for argv in (["nowhere"], ["ptbxl", "--root", str(tmp_path)], []):
        assert main(["cohort", "build", *argv]) == 1
        assert capsys.readouterr().err.startswith("error: ")
