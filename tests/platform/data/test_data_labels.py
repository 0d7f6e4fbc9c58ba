"""Meanings of uncertain and blank labels, and the patients of a label fraction."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from polyclinic.cohort import Study, Target, read_cohort
from polyclinic.data import CohortDataModule, LabelPolicy
from pulse_plugin import Pulse

NAN = float("nan")
TARGETS = (Target(name="edema"), Target(name="age", kind="quantity"))


def _studies(values: list[float]) -> list[Study]:
    return [
        Study(study_id=f"S{i}", patient_id=f"P{i}", split="train", sources={}, labels=(value, -1.0), groups={})
        for i, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("policy", "training", "expected"),
    [
        (LabelPolicy(uncertain="ignore"), True, [1, 0, NAN, NAN]),
        (LabelPolicy(uncertain="zero"), True, [1, 0, 0, NAN]),
        (LabelPolicy(uncertain="one", blank="zero"), False, [1, 0, 1, 0]),
        (LabelPolicy(uncertain="soft", soft_value=0.7), True, [1, 0, 0.7, NAN]),
        (LabelPolicy(uncertain="soft", soft_value=0.7, blank="one"), False, [1, 0, NAN, 1]),
        (LabelPolicy(uncertain="ignore", blank="soft"), True, [1, 0, NAN, 0.5]),
    ],
)
def test_a_policy_applies_to_findings_only(policy: LabelPolicy, training: bool, expected: list[float]) -> None:
    labels = policy.apply(_studies([1.0, 0.0, -1.0, NAN]), TARGETS, training=training)
    np.testing.assert_array_equal([study.labels[0] for study in labels], expected)
    assert {study.labels[1] for study in labels} == {-1.0}


def test_uncertain_labels_stop_a_run_that_does_not_name_a_policy() -> None:
    with pytest.raises(
        ValueError, match=r"'edema' is -1 \(uncertain\) in 2 studies; set `data.label_policy.uncertain`"
    ):
        LabelPolicy().apply(_studies([-1.0, 1.0, -1.0]), TARGETS, training=False)
    with pytest.raises(ValueError, match=r"'edema' is 3 in a study, expected 0, 1, -1 or blank"):
        LabelPolicy().apply(_studies([3.0]), TARGETS, training=True)
    with pytest.raises(ValueError, match=r"label 'edema' is infinite in a study"):
        LabelPolicy().apply(_studies([float("inf")]), TARGETS, training=True)
    with pytest.raises(ValueError, match=r"set `data\.label_policy`"):
        LabelPolicy(soft_value=1.0)


@pytest.fixture
def labelled(pulse_cohort: Path, tmp_path: Path) -> Path:
    shutil.copytree(pulse_cohort.parent, tmp_path / "cohort")
    pulse_cohort = tmp_path / "cohort" / "cohort.yaml"
    table = pulse_cohort.parent / "cohort.csv"
    lines = table.read_text().splitlines()
    levels = ["none", "mild", "severe", ""]
    with_grade = [lines[0] + ",grade,ef,view"]
    with_grade += [f"{line},{levels[i % 4]},{40 + i},{'AP' if i % 2 else 'PA'}" for i, line in enumerate(lines[1:])]
    table.write_text("\n".join(with_grade))
    spec = yaml.safe_load(pulse_cohort.read_text())
    labels = {name: {"column": name} for name in spec["labels"]}
    spec["labels"] = {
        **labels,
        "grade": {"column": "grade", "levels": ["none", "mild", "severe"]},
        "ef": {"column": "ef", "unit": "%"},
        "view": {"column": "view", "classes": ["AP", "PA"]},
    }
    pulse_cohort.write_text(yaml.safe_dump(spec))
    return pulse_cohort


def _data(cohort: Path, **settings: object) -> CohortDataModule:
    return CohortDataModule(cohort=cohort, modalities={"first": Pulse()}, **settings)


def test_the_kinds_of_labels_are_read_from_the_cohort(labelled: Path) -> None:
    cohort = read_cohort(labelled)
    data = _data(labelled, labels=["view", "grade", "ef"])
    assert [(target.name, target.kind, target.names) for target in data.targets] == [
        ("view", "class", ("AP", "PA")),
        ("grade", "level", ("none", "mild", "severe")),
        ("ef", "quantity", ()),
    ]
    fractions = [study.labels[cohort.labels.index("ef")] for study in cohort.split("train")]
    assert data.targets[2].center == pytest.approx(np.mean(fractions))
    assert data.targets[2].scale == pytest.approx(np.std(fractions))
    first = cohort.studies[0].labels
    assert first[cohort.labels.index("view")] == 1.0
    assert first[cohort.labels.index("grade")] == 0.0
    assert np.isnan(cohort.studies[3].labels[cohort.labels.index("grade")])
    assert data.studies(cohort.studies[0].split)[0].labels[:2] == (1.0, 0.0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"column": "grade", "levels": ["none"]}, r"labels.grade.levels = \['none'\], expected a list of two or more"),
        ({"column": "grade", "levels": ["none", "mild"]}, "has 'severe' as label 'grade', expected one of"),
        ({"column": "grade", "levels": ["a", "b"], "classes": ["a", "b"]}, "expected one of them; remove some"),
        ({"column": "grade", "kind": "level"}, "expected a column with at most one of"),
    ],
)
def test_invalid_labels_are_refused(labelled: Path, entry: dict[str, object], message: str) -> None:
    spec = yaml.safe_load(labelled.read_text())
    spec["labels"]["grade"] = entry
    labelled.write_text(yaml.safe_dump(spec))
    with pytest.raises(ValueError, match=message):
        read_cohort(labelled)


@pytest.mark.public_report(9)
def test_a_label_without_training_values_stops_a_run(labelled: Path) -> None:
    spec = yaml.safe_load(labelled.read_text())
    spec["labels"]["grade"] = {"column": "grade", "values": {"odd": 1, "severe": 0}}
    labelled.write_text(yaml.safe_dump(spec))
    table = labelled.parent / "cohort.csv"
    lines = table.read_text().splitlines()
    column = lines[0].split(",").index("split")
    train = [line.split(",")[column] == "train" for line in lines]
    lines_left = [
        line.replace(",severe,", ",mild,") if train_line else line
        for line, train_line in zip(lines, train, strict=True)
    ]
    data = _data(labelled)
    data.refuse_unknown_labels()
    (warning,) = data.label_warnings()
    assert "cells of label 'grade' are not listed in `labels.grade.values` and count as unknown" in warning
    table.write_text("\n".join(lines_left))
    with pytest.raises(ValueError, match=r"label 'grade' is unknown in all \d+ training studies.*; \d+ cells are not"):
        _data(labelled).refuse_unknown_labels()
    _data(labelled, labels=["ef"]).refuse_unknown_labels()
    policy = LabelPolicy(blank="zero")
    _data(labelled, label_policy=policy).refuse_unknown_labels()


def test_fractions_are_nested_and_take_all_studies_of_a_patient(labelled: Path) -> None:
    chosen = {
        share: {
            study.patient_id for study in _data(labelled, label_fraction=share, seed=7).studies("train", training=True)
        }
        for share in (0.1, 0.5, 1.0)
    }
    everyone = {study.patient_id for study in read_cohort(labelled).split("train")}
    assert chosen[0.1] < chosen[0.5] < chosen[1.0] == everyone
    assert len(chosen[0.5]) == -(-len(everyone) // 2)
    other_seed = _data(labelled, label_fraction=0.5, seed=1)
    assert {study.patient_id for study in other_seed.studies("train", training=True)} == chosen[0.5]
    assert len(other_seed.studies("train")) == len(read_cohort(labelled).split("train"))
    expected = [study.study_id for study in read_cohort(labelled).split("train") if study.patient_id in chosen[0.5]]
    assert [study.study_id for study in other_seed.studies("train", training=True)] == expected


def test_invalid_label_settings_are_refused(labelled: Path) -> None:
    with pytest.raises(ValueError, match="got label 'nosuch', expected one of"):
        _ = _data(labelled, labels=["nosuch"]).targets
    with pytest.raises(ValueError, match="fraction"):
        _data(labelled, label_fraction=0.0).studies("train", training=True)
