"""The phantom is reproducible, correlated as stated, and hides the joint finding from single traits."""

from pathlib import Path

import numpy as np
import pytest

from polyclinic.cohort import read_cohort, write_phantom_cohort
from polyclinic.modality.physiology import ABSENT, FINDINGS, JOINT_FINDING, PRESENT, Patient, as_record
from pulse_plugin import Pulse


def test_prevalences_and_severities_are_as_stated() -> None:
    visits = [Patient(np.random.default_rng(i)).visit(np.random.default_rng(-i - 1 & 0xFFFF)) for i in range(3000)]
    findings = np.array([list(visit.findings().values()) for visit in visits])
    assert list(visits[0].findings()) == list(FINDINGS)
    assert findings.mean(axis=0).min() > 0.05
    assert findings.mean(axis=0).max() < 0.45
    severity = np.array([[as_record(v)[key] for key in ("heart_size", "fluid", "anaemia")] for v in visits])
    assert ((severity <= ABSENT) | (severity >= PRESENT)).all()
    assert severity.max() <= 1


def test_the_joint_finding_is_independent_of_each_trait_and_of_every_other_finding() -> None:
    visits = [Patient(np.random.default_rng(i)).visit(np.random.default_rng(i + 10**6)) for i in range(4000)]
    joint = np.array([visit.findings()[JOINT_FINDING] for visit in visits], dtype=float)
    other_findings = np.array(
        [[v for k, v in visit.findings().items() if k != JOINT_FINDING] for visit in visits], dtype=float
    )
    traits = np.array([[visit.heart_lie, visit.electrical_axis] for visit in visits], dtype=float)
    correlations = [abs(np.corrcoef(joint, column)[0, 1]) for column in np.c_[other_findings, traits].T]
    assert max(correlations) < 0.06
    np.testing.assert_array_equal(joint, traits[:, 0] != traits[:, 1])


def test_heart_failure_correlates_findings() -> None:
    visits = [Patient(np.random.default_rng(i)).visit(np.random.default_rng(i + 10**6)) for i in range(3000)]
    findings = {name: np.array([visit.findings()[name] for visit in visits], dtype=float) for name in FINDINGS}
    assert np.corrcoef(findings["cardiomegaly"], findings["pulmonary_edema"])[0, 1] > 0.1


def test_the_same_seed_gives_the_same_files_for_any_number_of_workers(tmp_path: Path) -> None:
    modalities = {"pulse": Pulse(), "second": Pulse()}
    for name, workers in (("one", 1), ("two", 2)):
        write_phantom_cohort(tmp_path / name, studies=30, seed=3, modalities=modalities, workers=workers)
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*")) for name in ("one", "two")
    ]
    assert files[0] == files[1]
    for file in files[0]:
        if (tmp_path / "one" / file).is_file():
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_cohort_is_valid_and_each_modality_is_sometimes_missing(tmp_path: Path) -> None:
    path = write_phantom_cohort(
        tmp_path / "out", studies=300, seed=0, modalities={"a": Pulse(), "b": Pulse()}, workers=1
    )
    cohort = read_cohort(path)
    assert len(cohort.studies) == 300
    assert all(0.65 < share < 0.95 for share in cohort.present_share().values())
    assert all(study.sources for study in cohort.studies)
    assert (
        max(len([s for s in cohort.studies if s.patient_id == p]) for p in {s.patient_id for s in cohort.studies}) > 1
    )
    assert {study.split for study in cohort.studies} == {"train", "val", "test"}


def test_an_existing_folder_and_a_tiny_cohort_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="already exists"):
        write_phantom_cohort(tmp_path / "out", studies=30, seed=0, modalities={"a": Pulse()}, workers=1)
    with pytest.raises(ValueError, match="at least 20"):
        write_phantom_cohort(tmp_path / "new", studies=3, seed=0, modalities={"a": Pulse()}, workers=1)
    assert not (tmp_path / "new").exists()
