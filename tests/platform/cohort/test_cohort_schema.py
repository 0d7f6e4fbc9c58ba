"""The JSON Schema of cohort.yaml accepts and refuses the same files as the code that reads them."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from polyclinic.cohort.schema import read_spec

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((files("polyclinic.cohort") / "cohort.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema_rs.validator_for(SCHEMA)
HEAD = "table: t.csv\nstudy_id: id\npatient_id: who\n"
START = f"{HEAD}split: part\nmodalities: {{note: {{text: note}}}}\n"

ACCEPTED = (
    START,
    f"{START}labels: [edema, effusion]\ngroups: [sex]\nmissing: [NA, -999]\nwhere: age >= 18\nroot: files\n",
    f"{START}labels:\ngroups:\nencoding: null\npopulation: mimic-iv\n",
    f"{START}labels: {{edema: {{column: e, values: {{pos: 1, neg: 0, '?': null, maybe: -1, sure: true}}}}}}\n",
    f"{START}labels: {{view: {{column: v, classes: [AP, PA]}}, grade: {{column: g, levels: [mild, severe]}}}}\n",
    f"{START}labels: {{lvef: {{column: l, unit: '%', values: {{normal: 60}}}}, af: {{column: d, pattern: af}}}}\n",
    f"{HEAD}split: {{train: 0.7, val: 0.1, test: 0.2, seed: 3}}\nmodalities: {{a: {{path: '{{id}}.*'}}}}\n",
    f"{HEAD}split: {{train: 1}}\nmodalities: {{a: {{path: file, row: row}}, b: {{columns: [x, 1]}}}}\n",
    f"{HEAD}split: {{folds: 5}}\nmodalities: {{a: {{path: p}}}}\n",
    f"{HEAD}split: {{leave_out: site, val: 0.2, seed: 1}}\ngroups: [site]\nmodalities: {{a: {{path: p}}}}\n",
    f"{HEAD}split: s\nmodalities: {{a: {{meds: dir, time: t}}}}\n",
    f"{HEAD}split: s\nmodalities: {{a: {{meds: d, time: t, before: 90min, after: 1.5d, codes: [a, 1], subject: s}}}}\n",
    "table: t.csv\nstudy_id: 1\npatient_id: {column: id, pattern: '(\\d+)'}\nsplit: s\nmodalities: {a: {text: t}}\n",
)
REFUSED = (
    "[]\n",
    HEAD,
    f"{START}tabel: t.csv\n",
    START.replace("who", "null"),
    START.replace("patient_id: who", "patient_id: {column: who}"),
    START.replace("{note: {text: note}}", "{}"),
    START.replace("{note: {text: note}}", "[note]"),
    START.replace("{text: note}", "note"),
    START.replace("{text: note}", "{text: note, path: p}"),
    START.replace("{text: note}", "{row: r}"),
    START.replace("{text: note}", "{columns: note}"),
    START.replace("{text: note}", "{text: [note]}"),
    START.replace("{text: note}", "{meds: dir}"),
    START.replace("{text: note}", "{time: t}"),
    START.replace("{text: note}", "{meds: dir, time: t, path: p}"),
    START.replace("{text: note}", "{meds: dir, time: t, before: 24}"),
    START.replace("{text: note}", "{meds: dir, time: t, before: -24h}"),
    START.replace("{text: note}", "{meds: dir, time: t, after: 2 weeks}"),
    START.replace("{text: note}", "{meds: dir, time: t, codes: []}"),
    START.replace("{text: note}", "{meds: dir, time: t, codes: a}"),
    START.replace("split: part", "split: {val: 0.5, test: 0.5}"),
    START.replace("split: part", "split: {train: 1.2, val: -0.2}"),
    START.replace("split: part", "split: {train: 0.5, valid: 0.5}"),
    START.replace("split: part", "split: {folds: 1}"),
    START.replace("split: part", "split: {folds: 101}"),
    START.replace("split: part", "split: {folds: 5, leave_out: site}"),
    START.replace("split: part", "split: {folds: 5, val: 1}"),
    START.replace("split: part", "split: {folds: 5, test: 0.2}"),
    f"{START}groups: sex\n",
    f"{START}missing: NA\n",
    f"{START}root: [a]\n",
    f"{START}labels: edema\n",
    f"{START}labels: {{edema: e}}\n",
    f"{START}labels: {{edema: {{values: {{a: 1}}}}}}\n",
    f"{START}labels: {{edema: {{column: e, kind: finding}}}}\n",
    f"{START}labels: {{edema: {{column: e, values: {{}}}}}}\n",
    f"{START}labels: {{edema: {{column: e, values: {{a: present}}}}}}\n",
    f"{START}labels: {{view: {{column: v, classes: [AP]}}}}\n",
    f"{START}labels: {{view: {{column: v, classes: [AP, AP]}}}}\n",
    f"{START}labels: {{view: {{column: v, classes: [AP, PA], levels: [AP, PA]}}}}\n",
    f"{START}labels: {{view: {{column: v, classes: [AP, PA], values: {{AP: 1}}}}}}\n",
    f"{START}labels: {{view: {{column: v, pattern: a, unit: mm}}}}\n",
)
ONLY_THE_CODE_REFUSES = (
    START.replace("split: part", "split: {train: 0.5, val: 0.1}"),  # shares that do not sum to 1
    START.replace("split: part", "split: {leave_out: site}"),  # a group that is not listed
    START.replace("patient_id: who", "patient_id: {column: who, pattern: '\\d+'}"),  # a pattern without a group
    f"{START}where: age >=\n",
    f"{START}labels: {{view: {{column: v, classes: ['1', '1.0']}}}}\n",  # names that mean the same cells
)


def _read(folder: Path, text: str) -> bool:
    path = folder / "cohort.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        read_spec(path)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_the_code_reads_is_valid(text: str, tmp_path: Path) -> None:
    assert _read(tmp_path, text)
    VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_code_refuses_is_invalid(text: str, tmp_path: Path) -> None:
    assert not _read(tmp_path, text)
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("text", ONLY_THE_CODE_REFUSES)
def test_the_code_refuses_what_a_schema_cannot_express(text: str, tmp_path: Path) -> None:
    assert not _read(tmp_path, text)
    assert VALIDATOR.is_valid(yaml.safe_load(text))


def test_the_cohorts_of_the_experiments_are_valid() -> None:
    cohorts = [*ROOT.glob("experiments/*/cohort.yaml"), ROOT / "experiments" / "real" / "ludb.yaml"]
    assert len(cohorts) >= 2
    for path in cohorts:
        VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_every_key_has_a_description() -> None:
    for part in (SCHEMA, *(part for part in SCHEMA["$defs"].values() if "properties" in part)):
        assert part["description"]
        assert all(entry["description"] for entry in part["properties"].values())
