"""A folder of hospital files becomes a cohort, and every file that does not is counted with its reason."""

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from archives import flatten, write_dicom
from polyclinic.cohort import Cohort, default_modalities, read_cohort
from polyclinic.cohort.scan import ScanResult, headers, scan, scan_folder
from polyclinic.cohort.scan.walk import walk
from polyclinic.modality import Modality, Physiology
from polyclinic.modality.physiology import Patient
from pulse_plugin import Pulse

TONE = np.sin(np.arange(4000) / 5) * 0.1


@pytest.fixture(scope="module")
def plugins() -> dict[str, Modality]:
    return default_modalities()


@pytest.fixture(scope="module")
def physiology() -> Physiology:
    return Patient(np.random.default_rng(0)).visit(np.random.default_rng(1))


@pytest.fixture
def run(tmp_path: Path, plugins: Mapping[str, Modality]) -> Callable[..., ScanResult]:
    def scanned(folder: Path = tmp_path / "archive", **settings: Any) -> ScanResult:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        return scan_folder(folder, out=out, modalities=plugins, workers=1, **settings)

    return scanned


def content(cohort: Cohort) -> dict[str, tuple[object, ...]]:
    return {
        study.study_id: (
            study.patient_id,
            study.split,
            {name: Path(str(source)).stem for name, source in study.sources.items()},
            dict(zip(cohort.labels, study.labels, strict=True)),
            dict(study.groups),
        )
        for study in cohort.studies
    }


def rows(result: ScanResult) -> list[dict[str, str]]:
    table = pd.read_csv(result.path.with_name("studies.csv"), dtype=str, keep_default_na=False)
    return table.to_dict("records")  # type: ignore[return-value]


def left_out(result: ScanResult) -> dict[str, list[str]]:
    return {reason: [file["path"] for file in entry["files"]] for reason, entry in result.report["left_out"].items()}


def assumed(result: ScanResult, words: str) -> int:
    return sum(entry["count"] for entry in result.report["assumptions"] if words in entry["assumption"])


def write_wav(path: Path, pitch: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, TONE * pitch, 4000)
    return path


def write_text(path: Path, text: str = "Findings: no effusion.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_flat_phantom_folder_gives_the_studies_of_its_table(
    tmp_path: Path, phantom_cohort: Path, run: Callable[..., ScanResult]
) -> None:
    flat = flatten(phantom_cohort.parent, tmp_path / "archive")
    for file in flat.glob("*.dcm"):
        if int(file.stem[1:]) % 2:
            file.rename(file.with_suffix(""))
    before = {path: path.read_bytes() for path in sorted(flat.rglob("*"))}
    first, second = run(), run()
    assert content(first.cohort) == content(read_cohort(phantom_cohort))
    assert {path: path.read_bytes() for path in sorted(flat.rglob("*"))} == before
    for name in ("studies.csv", "cohort.yaml", "scan-report.json"):
        assert first.path.with_name(name).read_bytes() == second.path.with_name(name).read_bytes()
    assert first.report["left_out"] == {}
    assert first.report["companions"] == len(list(flat.glob("*.dat")))
    assert assumed(first, "headers state another patient id than the table") == len(list(flat.glob("S*[0-9]"))) + len(
        list(flat.glob("*.dcm"))
    )


def test_without_the_table_files_are_joined_by_their_names(
    tmp_path: Path, phantom_cohort: Path, run: Callable[..., ScanResult]
) -> None:
    flatten(phantom_cohort.parent, tmp_path / "archive", table=False)
    result, expected = run(), read_cohort(phantom_cohort)
    assert sorted(str(fields[2]) for fields in content(result.cohort).values()) == sorted(
        str(dict.fromkeys(study.sources, study.study_id)) for study in expected.studies
    )
    assert not result.cohort.labels
    assert yaml.safe_load(result.path.read_text())["split"] == {"train": 0.7, "val": 0.1, "test": 0.2, "seed": 0}
    assert not any("S0000" in row["study_id"] for row in rows(result)), "ids are logged, and names may name patients"


def test_worker_processes_give_the_same_cohort(
    tmp_path: Path, phantom_cohort: Path, plugins: Mapping[str, Modality], monkeypatch: pytest.MonkeyPatch
) -> None:
    flatten(phantom_cohort.parent, tmp_path / "archive")
    monkeypatch.setattr(headers, "SAMPLE_SIZE", 20)
    reports = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(headers, "WORTH_SECONDS", seconds)
        out = tmp_path / f"out{seconds}"
        scan_folder(tmp_path / "archive", out=out, modalities=plugins, workers=2)
        reports.append([(out / name).read_bytes() for name in ("studies.csv", "cohort.yaml", "scan-report.json")])
    assert reports[0] == reports[1]


def test_headers_group_a_series_and_the_frontal_view_is_used(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    stated = {"PatientID": "MRN7", "StudyInstanceUID": "2.25.7", "AccessionNumber": "ACC 7"}
    write_dicom(tmp_path / "archive/a/IM1", ViewPosition="LL", **stated)
    write_dicom(tmp_path / "archive/b/IM2", ViewPosition="PA", **stated)
    write_dicom(tmp_path / "archive/b/1.2.3", PatientID="MRN8", StudyInstanceUID="2.25.8")
    result = run()
    assert {(row["patient_id"], row["accession"], row["xray"]) for row in rows(result)} == {
        ("MRN7", "ACC 7", "b/IM2"),
        ("MRN8", "", "b/1.2.3"),
    }
    assert left_out(result) == {"another-of-the-study": ["a/IM1"]}


@pytest.mark.parametrize(
    ("ecg", "hours", "studies"),
    [
        ({"StudyDate": "20200101", "StudyTime": "1100"}, 24.0, 1),
        ({"StudyDate": "20200101", "StudyTime": "1100"}, 0.5, 2),
        ({"StudyDate": "20200103", "StudyTime": "1000"}, 24.0, 2),
        ({"AcquisitionDateTime": "20200101110000.000+0200"}, 24.0, 1),
        ({"StudyDate": "20200103", "AccessionNumber": "A1"}, 24.0, 1),
        ({"StudyDate": "20200101", "StudyTime": "1100", "PatientID": "other"}, 24.0, 2),
        ({"StudyTime": "110000"}, 24.0, 2),
    ],
)
def test_times_join_files_of_one_patient(
    tmp_path: Path, run: Callable[..., ScanResult], ecg: dict[str, str], hours: float, studies: int
) -> None:
    image = {"PatientID": "P", "StudyInstanceUID": "2.25.1", "StudyDate": "20200101", "StudyTime": "100000"}
    write_dicom(tmp_path / "archive/x1", AccessionNumber="A1", **image)
    write_dicom(tmp_path / "archive/e1", modality="ECG", **{"PatientID": "P", "StudyInstanceUID": "2.25.2", **ecg})
    assert len(run(hours=hours).cohort.studies) == studies


def test_two_images_of_a_day_stay_two_studies(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    for number in (1, 2):
        stated = {"PatientID": "P", "StudyInstanceUID": f"2.25.{number}", "StudyDate": "20200101"}
        write_dicom(tmp_path / f"archive/x{number}", **stated)
    assert len(run().cohort.studies) == 2


def test_folders_of_a_study_hold_its_files_and_the_folder_above_its_patient(
    tmp_path: Path, run: Callable[..., ScanResult]
) -> None:
    for patient in range(4):
        for study in range(2):
            folder = tmp_path / f"archive/p{patient}/s{study}"
            write_wav(folder / "heart.wav", pitch=1 + patient + study / 2)
            write_text(folder / "letter.txt", f"Findings: {'pneumonia' if study else 'none'}.")
    result = run()
    assert {(row["patient_id"], row["audio"], row["report"]) for row in rows(result)} == {
        (f"p{patient}", f"p{patient}/s{study}/heart.wav", f"p{patient}/s{study}/letter.txt")
        for patient in range(4)
        for study in range(2)
    }
    assert assumed(result, "patient is taken from names") == 8


def _patients_in_conflict(folder: Path) -> None:
    for number in (1, 2):
        write_dicom(folder / f"c{number}", PatientID=f"P{number}", StudyInstanceUID="2.25.9")


def _two_patients_in_one_file(folder: Path) -> None:
    write_dicom(folder / "c1", PatientID=["P1", "P2"], StudyInstanceUID="2.25.9")


def _row_in_conflict(folder: Path) -> None:
    write_dicom(folder / "c1.dcm", PatientID="P1", StudyInstanceUID="2.25.8")
    write_dicom(folder / "c2.dcm", modality="ECG", PatientID="P2", StudyInstanceUID="2.25.9")
    write_text(folder / "list.csv", "study,image,signal,sick\nX,c1.dcm,c2.dcm,1\nY,good.dcm,,0\n")


def _name_of_two(folder: Path) -> None:
    write_dicom(folder / "c1.dcm", PatientID="P1", StudyInstanceUID="2.25.8")
    write_dicom(folder / "c1", modality="ECG", PatientID="P2", StudyInstanceUID="2.25.9")
    write_text(folder / "c1.txt")


def _archives(folder: Path) -> None:
    with zipfile.ZipFile(folder / "c1.zip", "w") as archive:
        archive.writestr("a/b.dcm", b"x")
    with tarfile.open(folder / "c2", "w") as archive:
        archive.add(folder / "c1.zip", "inside")


def _climbing(folder: Path) -> None:
    for number, name in enumerate(("../b", "/etc/b", "a/../../b", "..\\b", "C:\\b")):
        with zipfile.ZipFile(folder / f"c{number}.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"x")
    with tarfile.open(folder / "c5.tar", "w") as archive:
        link = tarfile.TarInfo("a/b")
        link.type, link.linkname = tarfile.SYMTYPE, "../../c"
        archive.addfile(link)


def _links(folder: Path) -> None:
    outside = write_text(folder.parent / "outside/a.txt")
    (folder / "c1.txt").symlink_to(outside)
    (folder / "c2").symlink_to(outside.parent)
    (folder / "c3.txt").symlink_to("missing")


def _broken(folder: Path) -> None:
    (folder / "c1.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    (folder / "c2.hea").write_text("c2 1 500 10\nc2.dat 16 200 16 0 0 0 0 I\n")
    (folder / "c3.xyz").write_bytes(b"\1\2\3")
    write_dicom(folder / "c4", modality="CT", PatientID="P")
    (folder / "c5.parquet").write_bytes(b"PAR1PAR1")
    (folder / "c6.xlsx").write_bytes(b"PK\3\4")


CASES: list[tuple[Callable[[Path], object], dict[str, int]]] = [
    (_patients_in_conflict, {"conflicting-headers": 2}),
    (_two_patients_in_one_file, {"unreadable": 1}),
    (_row_in_conflict, {"conflicting-headers": 2}),
    (_name_of_two, {"ambiguous-name": 1}),
    (_archives, {"archive": 2}),
    (_climbing, {"archive-climbs-out": 6}),
    (_links, {"link-leaves-folder": 3}),
    (_broken, {"unreadable": 6}),
    (lambda folder: (folder / "link").symlink_to(folder / "good.dcm"), {"link": 1}),
    (lambda folder: shutil.copy(folder / "good.dcm", folder / "z.dcm"), {"duplicate": 1}),
    (lambda folder: (folder / "c1.txt").touch(), {"empty": 1}),
    (lambda folder: [write_text(folder / name) for name in ("README.txt", "DICOMDIR")], {"about-the-data": 2}),
    (lambda folder: write_text(folder / ".DS_Store"), {"hidden": 1}),
    (lambda folder: write_text(folder / " c1.txt"), {"unusable-name": 1}),
    (lambda folder: write_text(folder / "c\n1.txt"), {"unusable-name": 1}),
    (lambda folder: write_text(folder / os.fsdecode(b"c\xff.txt")), {"unusable-name": 1}),
    (lambda folder: os.mkfifo(folder / "c1"), {"not-a-file": 1}),
    (lambda folder: write_text(folder / "c1.csv", "study_id,sick\nQ,1\n"), {"table-without-studies": 1}),
]


@pytest.mark.parametrize(("spoil", "expected"), CASES)
def test_a_file_that_cannot_be_used_is_counted_with_its_reason(
    tmp_path: Path, run: Callable[..., ScanResult], spoil: Callable[[Path], object], expected: dict[str, int]
) -> None:
    write_dicom(tmp_path / "archive/good.dcm", PatientID="G", StudyInstanceUID="2.25.1")
    spoil(tmp_path / "archive")
    result = run()
    assert {reason: entry["count"] for reason, entry in result.report["left_out"].items()} == expected
    assert all(entry["advice"] for entry in result.report["left_out"].values())
    assert "good.dcm" in {row["xray"] for row in rows(result)}
    assert not any(path.startswith("/") for paths in left_out(result).values() for path in paths)


def test_a_file_in_two_rows_of_a_table_belongs_to_neither(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    for name in ("c1", "c2"):
        write_text(tmp_path / f"archive/{name}.txt")
    write_text(tmp_path / "archive/list.csv", "study,letter\nX,c1.txt\nY,c1.txt\nZ,c2.txt\n")
    result = run()
    assert left_out(result) == {"ambiguous": ["c1.txt"]}
    assert [(row["study_id"], row["report"]) for row in rows(result)] == [("Z", "c2.txt")]


def test_one_id_in_two_forms_is_one_patient(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    for number, patient in enumerate(("0042", "42", "42 ")):
        write_dicom(tmp_path / f"archive/x{number}", PatientID=patient, StudyInstanceUID=f"2.25.{number // 2}")
    result = run()
    assert {row["patient_id"] for row in rows(result)} == {"0042"}
    assert left_out(result) == {"another-of-the-study": ["x1"]}


def test_equal_short_texts_of_two_studies_are_no_copies(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    for name in ("a.txt", "b.txt", "again/a.txt"):
        write_text(tmp_path / "archive" / name)
    result = run()
    assert left_out(result) == {"duplicate": ["again/a.txt"]}
    assert len(result.cohort.studies) == 2


def test_an_excel_table_is_joined_by_accession_number(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    for number in range(8):
        stated = {"PatientID": f"P{number}", "StudyInstanceUID": f"2.25.{number + 1}"}
        write_dicom(tmp_path / f"archive/{number}", AccessionNumber=f"ACC{number}", **stated)
    numbers = range(7)
    table = pd.DataFrame(
        {
            "Accession Number": [f"ACC{number}" for number in numbers],
            "sick": [number % 2 for number in numbers],
            "uncertain": [-1, 0, 1, None, 0, 0, 1],
            "ward": ["east" if number < 3 else "west" for number in numbers],
            "score": [number * 1.5 for number in numbers],
            "nurse": [f"nurse {number}" for number in numbers],
        }
    )
    table.to_excel(tmp_path / "archive/findings.xlsx", index=False)
    result = run()
    cohort = result.cohort
    assert cohort.labels == ("sick", "uncertain")
    labels = {study.study_id: study.labels for study in cohort.studies}
    assert labels["ACC2"] == (0.0, 1.0)
    assert np.isnan(labels["ACC3"][1])
    assert {study.groups["ward"] for study in cohort.studies} == {"east", "west", ""}
    assert result.report["tables"][0]["columns_not_used"] == ["score", "nurse"]
    assert assumed(result, "no table lists") == 1


def test_a_table_in_windows_letters_is_joined_and_one_of_unclear_letters_left_out(
    tmp_path: Path, run: Callable[..., ScanResult]
) -> None:
    for number in range(4):
        write_wav(tmp_path / f"archive/s{number}.wav", pitch=1 + number)
    rows_ = "".join(f"s{number}.wav,{number % 2},{'groß' if number < 2 else 'klein'}\n" for number in range(4))
    (tmp_path / "archive/list.csv").write_bytes(f"file,Übelkeit,Größe\n{rows_}".encode("cp1252"))
    (tmp_path / "archive/other.csv").write_bytes("file,note\ns0.wav,père\n".encode("cp1252"))
    result = run()
    assert result.cohort.labels == ("Übelkeit",)
    assert {study.groups["Größe"] for study in result.cohort.studies} == {"groß", "klein"}
    assert assumed(result, "not UTF-8") == 1
    assert left_out(result) == {"unreadable": ["other.csv"]}
    assert "save it as CSV in UTF-8" in result.report["left_out"]["unreadable"]["files"][0]["why"]


def test_a_number_names_files_below_the_folder_of_its_table_only(
    tmp_path: Path, run: Callable[..., ScanResult]
) -> None:
    for number in range(4):
        write_wav(tmp_path / f"archive/first/{number}.wav", pitch=1 + number)
        write_wav(tmp_path / f"archive/second/r{number}.wav", pitch=6 + number)
    for name, image in (("first", ""), ("second", "r")):
        lines = "".join(f"{number},{image}{number}.wav,{number % 2}\n" for number in range(4))
        write_text(tmp_path / f"archive/{name}/list.csv", f"ecg_id,file,{name}\n{lines}")
    found = {row["audio"]: (row["study_id"][:1], row["first"], row["second"]) for row in rows(run())}
    assert found == {
        **{f"first/{number}.wav": (str(number), str(number % 2), "") for number in range(4)},
        **{f"second/r{number}.wav": (str(number), "", str(number % 2)) for number in range(4)},
    }


def test_a_table_of_patients_and_one_of_studies_are_both_joined(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    archive = tmp_path / "archive"
    for number in range(8):
        write_wav(archive / f"rec{number}.wav", pitch=1 + number)
    studies = "".join(f"rec{number},P{number // 2},{number % 2}\n" for number in range(8))
    write_text(archive / "a.csv", f"record,subject_id,wheeze\n{studies}")
    patients = "".join(f"P{number},{'FM'[number % 2]},train\n" for number in range(4))
    write_text(archive / "b.csv", f"subject_id,sex,split\n{patients}")
    result = run()
    assert [(study.study_id, study.patient_id, study.groups["sex"]) for study in result.cohort.studies] == [
        (f"rec{number}", f"P{number // 2}", "FM"[number // 2 % 2]) for number in range(8)
    ]
    assert {study.split for study in result.cohort.studies} == {"train"}
    assert result.cohort.labels == ("wheeze",)


@pytest.mark.parametrize("column", ["train,val,test,train", "train,train,valid,train", "train,test,val,"])
def test_a_split_that_contradicts_itself_is_not_used(
    tmp_path: Path, run: Callable[..., ScanResult], column: str
) -> None:
    lines = [f"s{number}.wav,P{number // 2},{split}" for number, split in enumerate(column.split(","))]
    for number in range(4):
        write_wav(tmp_path / f"archive/s{number}.wav", pitch=1 + number)
    write_text(tmp_path / "archive/list.csv", "\n".join(["file,patient,split", *lines]))
    result = run()
    assert assumed(result, "`split` that is not used") == 1
    assert isinstance(yaml.safe_load(result.path.read_text())["split"], dict)


def test_a_patient_without_a_split_in_the_table_gets_one(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    for number in range(3):
        write_wav(tmp_path / f"archive/s{number}.wav", pitch=1 + number)
    write_text(tmp_path / "archive/list.csv", "file,patient,split\ns0.wav,A,test\ns1.wav,B,\ns2.wav,A,\n")
    result = run()
    assert [study.split for study in result.cohort.studies if study.patient_id == "A"] == ["test", "test"]
    assert assumed(result, "without a split in the table") == 1


def test_other_studies_of_a_patient_get_the_id_that_a_table_uses(
    tmp_path: Path, run: Callable[..., ScanResult]
) -> None:
    for number in (1, 2):
        write_dicom(tmp_path / f"archive/x{number}.dcm", PatientID="MRN", StudyInstanceUID=f"2.25.{number}")
    write_text(tmp_path / "archive/list.csv", "study,patient,image\nS1,anna,x1.dcm\n")
    assert {row["patient_id"] for row in rows(run())} == {"anna"}


@pytest.mark.parametrize("nobody", ["", "ANONYMOUS", "unknown", "0"])
def test_a_placeholder_is_not_a_patient(tmp_path: Path, run: Callable[..., ScanResult], nobody: str) -> None:
    for number in (1, 2):
        write_dicom(tmp_path / f"archive/x{number}.dcm", PatientID=nobody, StudyInstanceUID=f"2.25.{number}")
    result = run()
    assert all(row["patient_id"] == row["study_id"] for row in rows(result))
    assert assumed(result, "without a patient id anywhere") == 2


def test_a_plugin_that_recognises_no_header_takes_what_it_reads(tmp_path: Path, physiology: Physiology) -> None:
    (tmp_path / "archive").mkdir()
    path = Pulse().phantom(physiology, np.random.default_rng(0), tmp_path / "archive/a")
    (tmp_path / "archive/broken").with_suffix(path.suffix).write_text("no number")

    class Named(Pulse):
        suffixes = (path.suffix,)

    result = scan_folder(tmp_path / "archive", out=tmp_path / "out", modalities={"pulse": Named()}, workers=1)
    assert [row["pulse"] for row in rows(result)] == [path.name]
    assert left_out(result) == {"unreadable": [f"broken{path.suffix}"]}


def test_bad_input_is_refused_in_a_sentence_and_nothing_is_written(
    tmp_path: Path, plugins: Mapping[str, Modality]
) -> None:
    archive = write_text(tmp_path / "archive/a.txt").parent
    (tmp_path / "empty").mkdir()
    (tmp_path / "only").mkdir()
    (tmp_path / "only/x.bin").write_bytes(b"\0\1")
    (tmp_path / "taken").mkdir()
    cases = [
        (archive / "a.txt", tmp_path / "out", "which is not a folder"),
        (tmp_path / "missing", tmp_path / "out", "which is not a folder"),
        (tmp_path / "empty", tmp_path / "out", r"no file of 'empty' can be used \(it is empty\)"),
        (tmp_path / "only", tmp_path / "out", r"no file of 'only' can be used \(1 unreadable\)"),
        (archive, tmp_path / "taken", "already exists"),
        (archive, archive / "deep/out", "lies in the folder to scan"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for folder, out, message in cases:
        with pytest.raises(ValueError, match=message):
            scan_folder(folder, out=out, modalities=plugins, workers=1)
        assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match="got hours -1, expected 0 or more"):
        scan_folder(archive, out=tmp_path / "out", modalities=plugins, hours=-1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", ["write_report", "write_spec", "group_sources", "read_cohort"])
def test_nothing_remains_after_an_interruption(
    tmp_path: Path,
    run: Callable[..., ScanResult],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    step: str,
) -> None:
    write_text(tmp_path / "archive/a.txt")
    before = sorted(tmp_path.rglob("*"))

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(scan, step, fail)
    with pytest.raises(error):
        run()
    assert sorted(tmp_path.rglob("*")) == before


def test_the_report_and_the_cohort_file_say_what_to_check(tmp_path: Path, run: Callable[..., ScanResult]) -> None:
    write_text(tmp_path / "archive/a.txt")
    result = run()
    assert json.loads(result.path.with_name("scan-report.json").read_text()) == result.report
    comments = [line for line in result.path.read_text().splitlines() if line.startswith("#")]
    assert any("patient" in line.lower() or "two splits" in line for line in comments)


def test_the_walk_is_in_the_order_of_paths(tmp_path: Path) -> None:
    for name in ("b/c.txt", "a.txt", "b.txt", "b/a/z.txt"):
        write_text(tmp_path / name)
    found = [entry.path for entry in walk(tmp_path, scan.LeftOut())]
    assert found == sorted(found)
    assert len(found) == 4
