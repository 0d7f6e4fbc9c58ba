"""``cohort ward`` prints counts and the next command, and leads to a cohort that ``cohort check`` accepts."""

from pathlib import Path

import pytest

from polyclinic.cli import main
from ward_files import message, obr, obx, pid, write_records, write_sr


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_ward_becomes_a_cohort_that_is_checked(capfd: pytest.CaptureFixture[str]) -> None:
    write_records(Path("records"))
    assert main(["cohort", "ward", "records", "--out", "cohort"]) == 0
    printed = capfd.readouterr()
    assert "1 patients, 1 results of 1 codes" in printed.out
    assert "left out: 2 broken" in printed.out
    assert "next: polyclinic cohort check cohort/cohort.yaml" in printed.out + printed.err
    assert main(["cohort", "check", "cohort/cohort.yaml", "--workers", "0"]) == 0


def test_results_without_a_report_have_no_cohort(capfd: pytest.CaptureFixture[str]) -> None:
    Path("records").mkdir()
    Path("records/a.hl7").write_text(message(pid(), obr(), obx("1")))
    assert main(["cohort", "ward", "records"]) == 0
    assert "there is no cohort.yaml" in capfd.readouterr().out
    assert sorted(each.name for each in Path("cohort").iterdir()) == ["meds", "patients.csv", "ward-report.json"]


def test_bad_settings_are_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    Path("records").mkdir()
    for words in (["nowhere"], ["records"], ["records", "--out", "records/x"], ["records", "--zone", "Mars"]):
        assert main(["cohort", "ward", *words]) == 1
        printed = capfd.readouterr()
        assert len(printed.err.strip().splitlines()) == 1
        assert "Traceback" not in printed.err
    assert not Path("cohort").exists()


def test_odd_values_of_a_document_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="Invalid value"):
        write_sr(Path("records/a"), StudyDate="DOE JOHN", ContentTime="DOE")
    Path("records/b.hl7").write_text(message(pid(), obr(), obx("1")))
    assert main(["cohort", "ward", "records"]) == 0
    printed = capfd.readouterr()
    assert "DOE" not in printed.out + printed.err
