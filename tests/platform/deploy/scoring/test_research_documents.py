"""Scores as FHIR Observations and structured reports, from values alone and through ``polyclinic score``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle as FhirBundle

from polyclinic.cli import main
from polyclinic.cohort import read_cohort
from polyclinic.deploy.bundle import load_bundle
from polyclinic.deploy.fhir import observations
from polyclinic.deploy.scores import EstimateScore, FindingScore, StudyScores
from polyclinic.deploy.scoring.research import content_key
from polyclinic.modality import RESEARCH_TITLE, ResearchModel

MODEL = ResearchModel(name="chest", version="0.9", sha256="ab" * 32, not_a_device="This is research software.")
PRESENT = FindingScore(
    name="pneumonia", score=1.25, probability=0.8125, interval=(0.7, 0.9), threshold=0.4, decision="present",
    abstained=False, reason=None, possible=("present",), contributions={"xray": 1.25}, auroc=None,
)  # fmt: skip
ABSTAINS = replace(PRESENT, name="effusion", decision=None, abstained=True, reason="both classes are possible")
UNCALIBRATED = replace(
    ABSTAINS, name="new finding", probability=None, interval=None, threshold=None, reason="it has no calibration"
)
QUANTITY = EstimateScore(
    name="potassium", unit="mmol/l", levels=(), value=4.125, level=None, interval=(3.5, 4.75), abstained=False,
    reason=None, contributions={}, error=None,
)  # fmt: skip
LEVEL = replace(QUANTITY, name="severity", unit="", levels=("mild", "severe"), value=0.75, level="severe")
UNSUPPORTED = replace(QUANTITY, name="sodium", abstained=True, reason="unlike the training studies")
SCORES = StudyScores(
    bundle=MODEL.sha256, modalities={}, findings=(PRESENT, ABSTAINS, UNCALIBRATED),
    estimates=(QUANTITY, LEVEL, UNSUPPORTED), notes=("the film is rotated",),
)  # fmt: skip


def by_name(bundle: dict[str, Any]) -> dict[str, Any]:
    found = [entry["resource"] for entry in bundle["entry"]]
    return {each["code"]["coding"][0]["code"]: each for each in found if each["resourceType"] == "Observation"}


def test_the_bundle_is_valid_fhir_and_keeps_its_rules() -> None:
    bundle = json.loads(json.dumps(observations(MODEL, [("s1", SCORES), ("s2", SCORES)])))
    model = FhirBundle.model_validate(bundle)
    assert len(model.entry) == 1 + 2 * 6
    for entry in bundle["entry"]:
        resource = entry["resource"]
        assert entry["fullUrl"] == f"urn:uuid:{resource['id']}"
        assert resource["meta"]["security"][0]["code"] == "HRESCH"
        assert resource["meta"]["tag"][0]["display"] == RESEARCH_TITLE
        if resource["resourceType"] == "Observation":
            assert resource["status"] == "preliminary"
            assert resource["category"][0]["text"] == RESEARCH_TITLE
            assert resource["device"]["reference"] == bundle["entry"][0]["fullUrl"]
            assert "subject" not in resource
            # obs-6: a reason for no value only without a value
            assert ("dataAbsentReason" in resource) != any(name.startswith("value") for name in resource)


def test_values_decisions_and_reasons_are_those_of_the_scores() -> None:
    found = by_name(observations(MODEL, [("s1", SCORES)]))
    present = found["pneumonia"]
    assert present["valueQuantity"]["value"] == 0.8125
    assert present["interpretation"][0]["coding"][0]["code"] == "POS"
    assert present["focus"][0]["identifier"]["value"] == "s1"
    assert {each["code"]["coding"][0]["code"] for each in present["component"]} == {"interval", "threshold", "score"}
    assert [each["text"] for each in present["note"]] == ["This is research software.", "the film is rotated"]
    abstains = found["effusion"]
    assert abstains["dataAbsentReason"]["text"] == "both classes are possible"
    assert abstains["component"][0]["valueQuantity"]["value"] == 0.8125
    assert "interpretation" not in abstains
    assert [each["code"]["coding"][0]["code"] for each in found["new finding"]["component"]] == ["score"]
    assert found["potassium"]["valueQuantity"] == {"value": 4.125, "unit": "mmol/l"}
    assert found["severity"]["valueCodeableConcept"] == {"text": "severe"}
    assert found["sodium"]["dataAbsentReason"]["text"] == "unlike the training studies"


def test_ids_are_the_same_for_the_same_study_and_bundle_only() -> None:
    first = by_name(observations(MODEL, [("s1", SCORES)]))["pneumonia"]["id"]
    assert by_name(observations(MODEL, [("s1", SCORES)]))["pneumonia"]["id"] == first
    assert by_name(observations(MODEL, [("s2", SCORES)]))["pneumonia"]["id"] != first
    other = replace(MODEL, sha256="cd" * 32)
    assert by_name(observations(other, [("s1", SCORES)]))["pneumonia"]["id"] != first


def run(bundle: Path, *words: object) -> int:
    return main(["score", str(bundle), *map(str, words)])


def test_one_study_is_written_in_all_forms(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = [word for name in ("xray", "ecg") for word in (f"--{name}", study_files[name])]
    outputs = ["--json", tmp_path / "a.json", "--fhir", tmp_path / "a.fhir", "--sr", tmp_path / "sr"]
    assert run(bundle_folder, *files, *outputs) == 0
    assert "structured reports: 1" in capfd.readouterr().out
    fhir = json.loads((tmp_path / "a.fhir").read_text())
    FhirBundle.model_validate(fhir)
    scores = {each["name"]: each for each in json.loads((tmp_path / "a.json").read_text())["findings"]}
    bundle = load_bundle(bundle_folder)
    assert fhir["entry"][0]["resource"]["identifier"][0]["value"] == bundle.digest
    assert by_name(fhir).keys() == scores.keys()
    for name, resource in by_name(fhir).items():
        if scores[name]["decision"] is not None:
            assert resource["valueQuantity"]["value"] == pytest.approx(scores[name]["probability"], abs=1e-6)
        else:
            assert resource["dataAbsentReason"]["text"] == scores[name]["reason"]
    [report] = (tmp_path / "sr").iterdir()
    document = pydicom.dcmread(report)
    source = pydicom.dcmread(study_files["xray"])
    assert document.StudyInstanceUID == source.StudyInstanceUID
    assert document.DeviceSerialNumber == bundle.digest
    assert run(bundle_folder, *files, "--sr", tmp_path / "again") == 0
    again = pydicom.dcmread(tmp_path / "again" / report.name)
    assert again.SOPInstanceUID == document.SOPInstanceUID
    assert run(bundle_folder, "--xray", study_files["xray"], "--sr", tmp_path / "alone") == 0
    alone = pydicom.dcmread(tmp_path / "alone" / report.name)
    assert alone.SOPInstanceUID != document.SOPInstanceUID, "other inputs, another document"


def test_a_cohort_is_written_in_all_forms(bundle_folder: Path, made: Path, tmp_path: Path) -> None:
    cohort = read_cohort(made / "cohort" / "cohort.yaml")
    studies = cohort.split("val")
    words = ["--cohort", made / "cohort" / "cohort.yaml", "--split", "val"]
    assert run(bundle_folder, *words, "--fhir", tmp_path / "a.fhir", "--sr", tmp_path / "sr") == 0
    fhir = json.loads((tmp_path / "a.fhir").read_text())
    focus = {each["resource"]["focus"][0]["identifier"]["value"] for each in fhir["entry"][1:]}
    assert focus <= {study.study_id for study in studies}
    reports = [pydicom.dcmread(file) for file in (tmp_path / "sr").iterdir()]
    assert len(reports) == sum("xray" in study.sources for study in studies)
    assert len({report.SOPInstanceUID for report in reports}) == len(reports)


def test_outputs_that_cannot_be_written_are_refused_first(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("x")
    for words in (["--sr", tmp_path / "full"], ["--fhir", tmp_path / "full"], ["--sr", tmp_path / "full" / "a"]):
        assert run(bundle_folder, "--xray", study_files["xray"], *words) == 1
        assert f"set `{words[0]}`" in capfd.readouterr().err
    assert run(bundle_folder, "--ecg", study_files["ecg"], "--sr", tmp_path / "sr") == 1
    assert "got no study with a DICOM file" in capfd.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["full"]


def test_without_the_library_the_option_names_the_extra(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("polyclinic.cli.score_documents.absent_modules", lambda extra: ["highdicom"])
    assert run(bundle_folder, "--xray", study_files["xray"], "--sr", tmp_path / "sr") == 1
    assert "install polyclinic[wards]" in capfd.readouterr().err
    assert run(bundle_folder, "--xray", study_files["xray"], "--fhir", tmp_path / "a.json") == 0


def test_the_key_of_a_study_is_that_of_its_contents(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path
) -> None:
    bundle = load_bundle(bundle_folder)
    renamed = tmp_path / "other name.dcm"
    renamed.write_bytes(study_files["xray"].read_bytes())
    key = content_key(bundle, {"xray": study_files["xray"]})
    assert content_key(bundle, {"xray": renamed}) == key
    renamed.write_bytes(renamed.read_bytes() + b"\0")
    assert content_key(bundle, {"xray": renamed}) != key
