"""`polyclinic deidentify`: everything or nothing, a cohort that is clean and reads, an account that names nobody."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml

from forked_commands import Forked
from names_corpus import SECRET, leaks, plant
from polyclinic.cli import main
from polyclinic.cohort import Cohort, default_modalities, read_cohort, write_phantom_cohort
from polyclinic.cohort.deidentify.cohort import deidentify_cohort
from polyclinic.cohort.deidentify.table import read_columns
from polyclinic.cohort.schema import read_spec
from polyclinic.modality import Cleaned, Source, UnreadableSource
from polyclinic.privacy.identifiers import identifying_fields
from polyclinic.privacy.identity import Identity, mapped
from pulse_plugin import Pulse

KEY = "0123456789abcdef" * 2


class Leaving(Pulse):
    """Does what the first word of its text says; any other text is written unchanged under the new name."""

    def read(self, source: Source) -> tuple[float, ...]:
        return (1.0, 1.0)

    def names(self, source: Source) -> list[str]:
        if "unnamed" in _text(source):
            raise RuntimeError(SECRET)
        return [SECRET]

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        text = _text(source)
        written = out.with_name(f"{out.name}.txt")
        written.write_text(text)
        if "refused" in text and not suspects:
            raise UnreadableSource("it seems to name somebody; see `--keep-suspects`")
        if "faulty" in text:
            raise KeyError(SECRET)
        return Cleaned(source=written, removed={"words": 1})


def _text(source: Source) -> str:
    assert isinstance(source, Path)
    return source.read_text()


@pytest.fixture(scope="module")
def phantom_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "cohort"
    return write_phantom_cohort(folder, studies=20, seed=3, modalities=default_modalities(), workers=1)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o600)
    return tmp_path / "key"


def write_small_cohort(folder: Path, texts: list[str], **more: Any) -> Path:
    """Write a cohort of one modality, with a file for each text."""
    folder.mkdir()
    rows = []
    for index, text in enumerate(texts):
        (folder / f"{index}.txt").write_text(text)
        rows.append({"id": f"study {index}", "who": f"P{index // 2}", "part": "train", "file": f"{index}.txt", **more})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    spec = {"table": "table.csv", "study_id": "id", "patient_id": "who", "split": "part"}
    (folder / "cohort.yaml").write_text(yaml.safe_dump({**spec, "modalities": {"pulse": {"path": "file"}}}))
    return folder / "cohort.yaml"


def deidentify_pulses(cohort: Path, out: Path, **settings: Any) -> dict[str, Any]:
    return deidentify_cohort(cohort, out, key=KEY.encode(), modalities={"pulse": Leaving()}, workers=0, **settings)


def test_a_planted_name_is_removed_and_the_cohort_checks_clean(
    phantom_cohort: Path, tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = plant(phantom_cohort, tmp_path / "planted", broken=False)
    assert leaks(planted.parent)
    words = ["deidentify", str(planted), str(tmp_path / "out"), "--key", str(key), "--workers", "0"]
    assert main(words) == 0
    reply = capsys.readouterr().out
    assert "columns dropped: patient_name, comment, a column whose name identifies" in reply
    assert reply.rstrip().endswith(f"next: polyclinic cohort check {tmp_path / 'out/cohort.yaml'}")
    assert leaks(tmp_path / "out") == []
    before, after = read_cohort(planted), read_cohort(tmp_path / "out/cohort.yaml")
    assert after.labels == before.labels
    assert after.present_share() == before.present_share()
    by_id = {study.study_id: study for study in after.studies}
    for study in before.studies:
        released = by_id[mapped(KEY.encode(), "study", study.study_id)]
        assert released.patient_id == mapped(KEY.encode(), "patient", study.patient_id)
        assert (released.split, released.labels, released.groups) == (study.split, study.labels, study.groups)
        assert set(released.sources) == set(study.sources)
    check = ["cohort", "check", str(tmp_path / "out/cohort.yaml"), "--workers", "0", "--json", str(tmp_path / "c.json")]
    assert main(check) == 0
    checks = json.loads((tmp_path / "c.json").read_text())["modalities"]
    codes = {issue["code"] for modality in checks.values() for issue in modality["issues"]}
    assert not codes & {"identifiers", "header-identifiers", "header-numbers", "burned-in-text"}
    # A vocabulary learns each word that its texts repeat, so that one of raw reports would leak names.
    assert {"john", "doe"} <= _words(before)
    assert not {"john", "doe"} & _words(after)


def _words(cohort: Cohort) -> set[str]:
    """Return the vocabulary that is learned from all reports of a cohort."""
    plugin = default_modalities(["report"])["report"]
    plugin.fit([plugin.read(study.sources["report"]) for study in cohort.studies if "report" in study.sources])
    entries = json.loads(plugin.state()["tokenizer"])["model"]["vocab"]
    return {entry.lstrip("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}") for entry in entries}


@pytest.mark.slow
def test_files_are_the_same_for_the_same_key_and_differ_for_another(phantom_cohort: Path, tmp_path: Path) -> None:
    plugins = default_modalities()
    for name, secret in (("one", KEY), ("again", KEY), ("other", KEY[::-1])):
        report = deidentify_cohort(
            phantom_cohort,
            tmp_path / name,
            key=secret.encode(),
            modalities=plugins,
            workers=2 if name == "again" else 0,
        )
        assert report["refused"] == []
    files = {file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*") if file.is_file()}
    assert files == {f.relative_to(tmp_path / "again") for f in (tmp_path / "again").rglob("*") if f.is_file()}
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    first, second = (read_cohort(tmp_path / name / "cohort.yaml") for name in ("one", "other"))
    for get in ("study_id", "patient_id"):
        assert not {getattr(s, get) for s in first.studies} & {getattr(s, get) for s in second.studies}
    assert first.population != second.population
    assert first.population.startswith(f"{read_cohort(phantom_cohort).population}-")


def test_intervals_between_the_studies_of_a_patient_are_preserved(phantom_cohort: Path, tmp_path: Path) -> None:
    deidentify_cohort(phantom_cohort, tmp_path / "out", key=KEY.encode(), modalities=default_modalities(), workers=0)
    after = {study.study_id: study for study in read_cohort(tmp_path / "out/cohort.yaml").studies}
    shifts: dict[str, set[int]] = {}
    for study in read_cohort(phantom_cohort).studies:
        if "xray" in study.sources:
            clean = after[mapped(KEY.encode(), "study", study.study_id)].sources["xray"]
            days = [pd.Timestamp(pydicom.dcmread(str(source)).StudyDate) for source in (study.sources["xray"], clean)]
            shifts.setdefault(study.patient_id, set()).add((days[1] - days[0]).days)
    assert all(len(days) == 1 for days in shifts.values())
    assert len({*map(min, shifts.values())}) > 3
    assert all(-3650 <= min(days) < 0 for days in shifts.values())


def test_a_name_in_one_source_is_removed_from_the_texts_of_that_patient_only(tmp_path: Path, key: Path) -> None:
    folder = tmp_path / "cohort"
    folder.mkdir()
    plugin = default_modalities(["xray"])["xray"]
    from polyclinic.modality.physiology import Patient  # noqa: PLC0415

    rng = np.random.default_rng(0)
    image = plugin.phantom(Patient(rng).visit(rng), rng, folder / "image")
    dataset = pydicom.dcmread(image)
    dataset.PatientName = "Quince^Peter"
    dataset.save_as(image)
    rows = [
        {"id": "a", "who": "1", "xray": "image.dcm", "report": "Chest: clear.", "surname": ""},
        {"id": "b", "who": "1", "xray": "", "report": "Told Quince that Bottom is well.", "surname": ""},
        {"id": "c", "who": "2", "xray": "", "report": "Told Quince that Bottom is well.", "surname": "Bottom"},
    ]
    pd.DataFrame([{**row, "part": "train"} for row in rows]).to_csv(folder / "t.csv", index=False)
    spec = {"table": "t.csv", "study_id": "id", "patient_id": "who", "split": "part"}
    sources = {"xray": {"path": "xray"}, "report": {"text": "report"}}
    (folder / "cohort.yaml").write_text(yaml.safe_dump({**spec, "modalities": sources}))
    assert main(["deidentify", str(folder / "cohort.yaml"), str(tmp_path / "out"), "--key", str(key)]) == 0
    studies = {study.study_id: study for study in read_cohort(tmp_path / "out/cohort.yaml").studies}
    texts = [studies[mapped(KEY.encode(), "study", name)].sources["report"] for name in "abc"]
    assert texts == ["Chest: clear.", "Told ___ that Bottom is well.", "Told Quince that ___ is well."]


def test_columns_are_written_as_the_kind_they_were_read_as(tmp_path: Path) -> None:
    path = write_small_cohort(
        tmp_path / "cohort",
        ["one", "two", "three"],
        site=SECRET,
        age="93",
        sick=SECRET,
        stage="II",
        score="1e2",
        who_else="x",
    )
    spec = yaml.safe_load(path.read_text())
    spec["groups"] = ["site", "age"]
    spec["labels"] = {
        "sick": {"column": "sick", "values": {"yes": 1, SECRET: None}},
        "stage": {"column": "stage", "classes": ["I", "II"]},
        "pulse": {"column": "score", "unit": "1/min"},
    }
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    report = deidentify_pulses(path, tmp_path / "out")
    assert leaks(tmp_path / "out") == []
    table = pd.read_csv(tmp_path / "out/cohort.csv", dtype=str, keep_default_na=False)
    assert list(table.columns) == ["study_id", "patient_id", "split", "site", "age", "sick", "stage", "pulse", "pulse_"]
    assert set(table["site"]) == {""}
    assert set(table["age"]) == {"90"}
    assert (set(table["sick"]), set(table["stage"]), set(table["pulse"])) == ({""}, {"II"}, {"100"})
    assert list(table["study_id"]) == sorted(table["study_id"])
    assert report["removed"] == {"pulse": {"words": 3}, "table": {"cells of groups": 3, "ages": 3}}
    assert report["columns"] == {
        "kept": ["id", "who", "part", "file", "site", "age", "sick", "stage", "score"],
        "dropped": ["who_else"],
        "dropped_unnamed": 0,
        "groups_of_births": [],
    }
    labels = [study.labels for study in read_cohort(tmp_path / "out/cohort.yaml").studies]
    np.testing.assert_array_equal(labels, [[np.nan, 1.0, 100.0]] * 3)


@pytest.mark.public_report(5)
def test_groups_hold_no_date_of_birth_and_no_age_over_89(tmp_path: Path) -> None:
    path = write_small_cohort(tmp_path / "cohort", ["one", "two", "three", "four"])
    table = pd.read_csv(path.parent / "table.csv", dtype=str)
    table["age_years"] = ["101.0", " 97.4 ", "101 y", "64.0"]
    table["PatientAge"] = ["np.float64(101.0)", "95-99", "9.1e1", "85-89"]
    table["birth_year"], table["dob"] = ["1924", "1957", "", "1960"], ["8767", "1924-05-03", "3.5.1957", ""]
    table["jg"] = ["1924.0", "1957.0", "1960.0", ""]
    table.to_csv(path.parent / "table.csv", index=False)
    spec = yaml.safe_load(path.read_text())
    spec["groups"] = ["age_years", "PatientAge", "birth_year", "dob", "jg"]
    path.write_text(yaml.safe_dump(spec))
    report = deidentify_pulses(path, tmp_path / "out")
    ids = [mapped(KEY.encode(), "study", f"study {index}") for index in range(4)]
    written = pd.read_csv(tmp_path / "out/cohort.csv", dtype=str, keep_default_na=False).set_index("study_id").loc[ids]
    assert list(written["age_years"]) == ["90", "90", "90", "64.0"]
    assert list(written["PatientAge"]) == ["90", "90+", "90", "85-89"]
    assert not {"birth_year", "dob", "jg"} & {*written.columns, *report["columns"]["kept"]}
    assert report["columns"]["groups_of_births"] == ["birth_year", "dob", "jg"]
    assert list(read_cohort(tmp_path / "out/cohort.yaml").studies[0].groups) == ["age_years", "PatientAge"]


def test_refused_sources_become_missing_and_are_counted_by_reason_with_mapped_ids(tmp_path: Path) -> None:
    path = write_small_cohort(
        tmp_path / "cohort", ["fine", "refused", "faulty", f"still {SECRET} here", "unnamed", "refused"]
    )
    report = deidentify_pulses(path, tmp_path / "out", max_refused=0.7)
    ids = [mapped(KEY.encode(), "study", f"study {index}") for index in range(6)]
    assert report["refused"] == [
        {"modality": "pulse", "reason": "KeyError while it was cleaned: a bug of the plugin", "studies": [ids[2]]},
        {
            "modality": "pulse",
            "reason": "a name or number of the patient is still in the cleaned source",
            "studies": [ids[3]],
        },
        {
            "modality": "pulse",
            "reason": "it seems to name somebody; see `--keep-suspects`",
            "studies": sorted([ids[1], ids[5]]),
        },
    ]
    assert {file.stem for file in (tmp_path / "out/pulse").iterdir()} == {ids[0], ids[4]}
    assert sorted(s.study_id for s in read_cohort(tmp_path / "out/cohort.yaml").studies if s.sources) == sorted(
        [ids[0], ids[4]]
    )
    assert json.loads((tmp_path / "out/deidentified.json").read_text()) == report
    lenient = deidentify_pulses(path, tmp_path / "kept", max_refused=0.7, suspects=True)
    assert (len(lenient["refused"]), lenient["suspects_kept"]) == (2, True)


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (["fine", "refused"], {}, r"1 of 2 sources are refused, more than max_refused = 5.0% .*`--max-refused`"),
        (["refused"], {"max_refused": 1.0}, "1 of 1 sources are refused"),
        (["fine"], {"max_refused": 2.0}, "expected 0 or more, and a share from 0 to 1"),
        (["fine"], {"max_refused": float("nan")}, "expected 0 or more, and a share from 0 to 1"),
    ],
)
def test_too_many_refused_sources_leave_no_output(
    texts: list[str], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write_small_cohort(tmp_path / "cohort", texts)
    with pytest.raises(ValueError, match=message) as report:
        deidentify_pulses(path, tmp_path / "out", **settings)
    assert SECRET not in str(report.value)
    assert {file.name for file in tmp_path.iterdir()} <= {"cohort", ".out.lock"}


def test_unusable_arguments_are_reported_before_anything_is_written(
    tmp_path: Path, key: Path, pulse_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_small_cohort(tmp_path / "cohort", ["fine"])
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    path.chmod(0o600)
    for words, message in [
        ([str(path), str(tmp_path / "out")], "key"),
        ([str(path), str(tmp_path / "out"), "--key", str(tmp_path)], "the key cannot be read (IsADirectoryError)"),
        ([str(path), str(tmp_path / "out"), "--key", str(path)], "got plugin 'pulse', expected"),
        ([str(tmp_path / "no.yaml"), str(tmp_path / "out"), "--key", str(key)], "'no.yaml' does not exist"),
    ]:
        assert main(["deidentify", *words]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="already exists"):
        deidentify_pulses(path, tmp_path / "there")
    with pytest.raises(ValueError, match=r"a file cannot be read or written: .*permissions and disk space"):
        deidentify_pulses(path, tmp_path / "file/out")
    with pytest.raises(ValueError, match="'pulse' has no plugin that can de-identify it"):
        deidentify_cohort(path, tmp_path / "out", key=KEY.encode(), modalities={"pulse": Pulse()}, workers=0)
    assert not list(tmp_path.glob("*out*"))


class Counting(Leaving):
    """Counts its calls; a text that begins with ``unreadable`` cannot be read."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def read(self, source: Source) -> tuple[float, ...]:
        self.calls.append("read")
        if _text(source).startswith("unreadable"):
            raise UnreadableSource("it cannot be read")
        return super().read(source)

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        self.calls.append("deidentify")
        return super().deidentify(source, out, identity, suspects=suspects)


@pytest.mark.parametrize(
    ("texts", "settings", "message", "calls"),
    [
        # Unreadable sources are found in a first pass, before anything is written.
        (["fine"] * 6 + ["unreadable"] * 2, {}, "1 of 8 sources are refused already", {"read": 7}),
        (["unreadable"] * 2, {"max_refused": 1.0}, "2 of 2 sources are refused, more", {"read": 2}),
        # Sources that only cleaning refuses end the run as soon as the outcome is certain.
        (["fine", "refused"] + ["fine"] * 18, {}, "", {"read": 20, "deidentify": 20}),
        (["fine", "refused", "refused"] + ["fine"] * 17, {}, "2 of 20.* already", {"read": 20, "deidentify": 3}),
    ],
)
def test_work_stops_once_the_result_is_certain_to_be_refused(
    texts: list[str], settings: dict[str, Any], message: str, calls: dict[str, int], tmp_path: Path
) -> None:
    path, plugin = write_small_cohort(tmp_path / "cohort", texts), Counting()
    report = {"key": KEY.encode(), "modalities": {"pulse": plugin}, "workers": 0, **settings}
    if message:
        with pytest.raises(ValueError, match=message):
            deidentify_cohort(path, tmp_path / "out", **report)
        assert not (tmp_path / "out").exists()
    else:
        deidentify_cohort(path, tmp_path / "out", **report)
    assert Counter(plugin.calls) == calls


@pytest.mark.parametrize("place", ["group", "label", "class", "unit", "population"])
def test_a_name_in_the_cohort_file_itself_is_refused(place: str, tmp_path: Path) -> None:
    plugin, path = (
        Counting(),
        write_small_cohort(tmp_path / "cohort", ["fine"], **{"seen by DOE^JOHN": "x", "sick": "I", "score": "1"}),
    )
    spec = yaml.safe_load(path.read_text())
    spec |= {
        "group": {"groups": ["seen by DOE^JOHN"]},
        "label": {"labels": {"ill, said doe^john": {"column": "sick", "classes": ["I", "II"]}}},
        "class": {"labels": {"sick": {"column": "sick", "classes": ["I", "Doe^John"]}}},
        "unit": {"labels": {"score": {"column": "score", "unit": "DOE^JOHN per l"}}},
        "population": {"population": "Patients of DOE^JOHN"},
    }[place]
    path.write_text(yaml.safe_dump(spec))
    with pytest.raises(ValueError, match=r"of the cohort file holds a name .* rename it") as report:
        deidentify_cohort(path, tmp_path / "out", key=KEY.encode(), modalities={"pulse": plugin}, workers=0)
    assert SECRET not in str(report.value)
    assert "deidentify" not in plugin.calls


def test_an_account_does_not_repeat_a_name_found_only_in_files(tmp_path: Path) -> None:
    path = write_small_cohort(tmp_path / "cohort", ["fine", "fine"], **{"Doe s ward": "x", "ward": "y"})
    report = deidentify_pulses(path, tmp_path / "out")
    assert report["columns"]["dropped"] == ["ward"]
    assert report["columns"]["dropped_unnamed"] == 1
    assert report["names_found"] == {"pulse": 2}


def _start(words: list[str], folder: Path, errors: str) -> Forked:
    return Forked(words, folder=folder, environment=os.environ, out=folder / "out.txt", errors=folder / errors)


def test_leftovers_of_an_ended_process_are_no_obstacle(tmp_path: Path, phantom_cohort: Path, key: Path) -> None:
    out = tmp_path / "out"
    words = ["deidentify", str(phantom_cohort), str(out), "--key", str(key), "--workers", "0"]
    process = _start(words, tmp_path, "ended")
    while process.poll() is None and len(list(tmp_path.glob(".out.partial/*/*"))) < 5:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert (tmp_path / ".out.partial").is_dir()
    assert main(words) == 0
    assert not (tmp_path / ".out.partial").exists()
    assert len(read_cohort(out / "cohort.yaml").studies) == 20


def test_of_two_processes_one_writes_and_the_other_reports_why_it_does_not(
    tmp_path: Path, phantom_cohort: Path, key: Path
) -> None:
    out = tmp_path / "out"
    words = ["deidentify", str(phantom_cohort), str(out), "--key", str(key), "--workers", "0"]
    processes = [_start(words, tmp_path, f"errors{number}") for number in range(2)]
    reply = {process.wait(timeout=240): process.errors.read_text() for process in processes}
    assert set(reply) == {0, 1}
    assert "another process is writing" in reply[1] or "already exists" in reply[1]
    assert len(read_cohort(out / "cohort.yaml").studies) == 20


def test_a_second_pass_changes_only_ids_and_dates(tmp_path: Path, phantom_cohort: Path) -> None:
    plugins = default_modalities()
    deidentify_cohort(phantom_cohort, tmp_path / "one", key=KEY.encode(), modalities=plugins, workers=0)
    report = deidentify_cohort(
        tmp_path / "one/cohort.yaml", tmp_path / "two", key=KEY.encode(), modalities=plugins, workers=0
    )
    assert report["refused"] == []
    assert report["removed"]["table"] == {}
    first, second = (read_cohort(tmp_path / name / "cohort.yaml") for name in ("one", "two"))
    assert sorted(study.labels for study in first.studies) == sorted(study.labels for study in second.studies)


def test_columns_naming_people_hold_names_and_those_naming_things_do_not(tmp_path: Path) -> None:
    people = {"name": "1", "Patient_Name": "2", "LAST NAME": "3", "referring_physician": "4", "MRN": "5", "dob": "6"}
    things = {"exam_name": "7", "patient_class": "8", "social_history": "9", "recording": "10", "notes": "11"}
    path = write_small_cohort(tmp_path / "cohort", ["fine"], **people, **things, home_address="x" * 61)
    columns = read_columns(read_spec(path))
    assert columns.names(0) == list(people.values())
    assert set(things) <= set(columns.dropped)


@pytest.mark.slow
def test_an_account_may_go_into_the_new_folder(tmp_path: Path, phantom_cohort: Path, key: Path) -> None:
    out = tmp_path / "out"
    assert (
        main(["deidentify", str(phantom_cohort), str(out), "--key", str(key), "--json", str(out / "report.json")]) == 0
    )
    assert json.loads((out / "report.json").read_text()) == json.loads((out / "deidentified.json").read_text())


def test_the_account_and_the_table_hold_no_original_id(tmp_path: Path) -> None:
    path = write_small_cohort(tmp_path / "cohort", ["fine"] * 4)
    deidentify_pulses(path, tmp_path / "out")
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert b"study " not in written
    assert b"P0" not in written
    assert not identifying_fields((tmp_path / "out/cohort.csv").read_text())
    shutil.rmtree(tmp_path / "cohort")
    assert len(read_cohort(tmp_path / "out/cohort.yaml").studies) == 4
