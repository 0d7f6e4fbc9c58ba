"""``cohort scan`` and ``cohort add`` print counts and the next command, and lead to a trained head without an edit."""

import json
from pathlib import Path

import pandas as pd
import pytest

from archives import flatten, write_dicom
from polyclinic.cli import main
from polyclinic.cli.default_plugins import with_default_plugins

SHORT = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--data.num_workers", "0"]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_flat_folder_is_scanned_checked_and_trained_on(
    phantom_cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flatten(phantom_cohort.parent, Path("archive"))
    assert main(["cohort", "scan", "archive", "--out", "cohort"]) == 0
    message = capfd.readouterr()
    assert "60 studies" in message.out
    assert "polyclinic deidentify cohort/cohort.yaml OUT" in message.out + message.err
    assert "next: polyclinic cohort check cohort/cohort.yaml" in message.out + message.err
    assert main(["cohort", "check", "cohort/cohort.yaml", "--workers", "0"]) == 0
    words = ["fit", "--model", "Downstream", "--data.cohort", "cohort/cohort.yaml", *SHORT]
    assert main([*words, "--model.init_args.size", "pico", "--json", "fit.json"]) == 0
    assert Path(json.loads(Path("fit.json").read_text())["checkpoint"]).is_file()
    assert "xray by XRay" in (capfd.readouterr().out)


def test_plugins_that_are_configured_stay(phantom_cohort: Path) -> None:
    words = ["fit", "--model", "Downstream", f"--data.cohort={phantom_cohort}"]
    added = with_default_plugins(words)
    assert added[: len(words)] == words
    assert dict(zip(added[len(words) :: 2], added[len(words) + 1 :: 2], strict=True)) == {
        "--data.modalities.audio": "Audio",
        "--data.modalities.ecg": "ECG",
        "--data.modalities.report": "Report",
        "--data.modalities.tabular": "Tabular",
        "--data.modalities.xray": "XRay",
    }
    Path("run.yaml").write_text("data: {modalities: {ecg: {class_path: ECG}}}\n")
    for given in (["--data.modalities.ecg", "ECG"], ["-c", "run.yaml"]):
        assert with_default_plugins([*words, *given]) == [*words, *given]
    assert with_default_plugins(["fit", "-c", "run.yaml"]) == ["fit", "-c", "run.yaml"]
    assert with_default_plugins(["fit", "--data.cohort", "none.yaml"]) == ["fit", "--data.cohort", "none.yaml"]


def test_nothing_of_a_name_or_a_header_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        stated = {"PatientID": f"MRN{number}", "StudyInstanceUID": f"2.25.{number + 1}", "PatientName": "Doe^Jane"}
        write_dicom(Path(f"archive/Doe_Jane/{number}/IM1"), AccessionNumber=f"ACC{number}", **stated)
    Path("archive/Doe Jane.zip").write_bytes(b"PK\3\4")
    Path("archive/Doe.csv").write_text("accession,split\nACC0,Doe\nACC1,test\nACC2,test\n")
    assert main(["cohort", "scan", "archive"]) == 0
    table = pd.read_csv("cohort/studies.csv", dtype=str)
    table[["accession"]].assign(ill=["0", "1", "-1"]).to_excel("labels.xlsx", index=False)
    assert main(["cohort", "add", "cohort/cohort.yaml", "labels.xlsx"]) == 0
    assert main(["cohort", "scan", "archive"]) == 1
    message = capfd.readouterr()
    assert "left out: 1 archive" in message.out
    assert "3 rows of the cohort matched, 0 did not; 0 rows of labels.xlsx were not used" in message.out
    assert "1 new columns, of which labels: ill" in message.out
    for word in ("Doe", "Jane", "MRN", "ACC", "2.25"):
        assert word not in message.out + message.err, word
    assert "Doe_Jane/0/IM1" in Path("cohort/studies.csv").read_text()
    assert "Doe Jane.zip" in Path("cohort/scan-report.json").read_text()


def test_an_empty_folder_is_refused_in_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    Path("archive").mkdir()
    assert main(["cohort", "scan", "archive"]) == 1
    message = capfd.readouterr().err
    assert message.startswith("error: no file of 'archive' can be used (it is empty)")
    assert message.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["archive"]
