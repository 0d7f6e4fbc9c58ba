"""Issues of a row: each planted one is found, and a clean row has none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyclinic.modality import Source
from polyclinic.modality.physiology import Patient
from polyclinic_tabular import Tabular

SECRET = "DOE^JOHN"


def issues(source: Source, **how: Any) -> dict[str, tuple[str, str]]:
    """Return severity and message by code; no message holds the planted name."""
    plugin = Tabular(numeric=["age", "spo2"], categorical={"sex": ["F", "M"]}, **how)
    issues_by_code = {
        issue.code: (issue.severity, issue.message) for issue in plugin.issues(source, plugin.read(source))
    }
    assert not any("DOE" in message or "JOHN" in message for _, message in issues_by_code.values())
    return issues_by_code


def test_phantoms_have_no_issues(tmp_path: Path) -> None:
    plugin = Tabular()
    rngs = [np.random.default_rng(seed) for seed in range(30)]
    paths = [plugin.phantom(Patient(rng).visit(rng), rng, tmp_path / f"S{place}") for place, rng in enumerate(rngs)]
    assert [list(plugin.issues(path, plugin.read(path))) for path in paths] == [[]] * 30


@pytest.mark.parametrize(
    ("cells", "how", "code", "message"),
    [
        (
            {"age": "fifty", "spo2": "97"},
            {"text_values": "missing"},
            "text-for-numbers",
            "cells of numeric columns that hold text; see `text_values`: 1",
        ),
        (
            {"age": "50", "sex": "X"},
            {},
            "unknown-levels",
            "cells with a level that their column does not have; see `categorical`: 1",
        ),
        (
            {"age": "500", "spo2": "1601", "sex": "F"},
            {"plausible": {"age": [0, 120], "spo2": [0, 100]}},
            "implausible",
            "numbers outside the plausible range of their column; see `plausible`: 2",
        ),
        ({"age": "", "spo2": "", "sex": ""}, {}, "all-missing", "none of the columns has a value"),
        ({"age": "50", "patient_name": SECRET}, {}, "identifiers", "the row seems to hold name"),
        ({"age": "50", "mrn": "4711"}, {}, "identifiers", "the row seems to hold record number"),
    ],
)
def test_problems_of_a_row_are_reported(cells: Mapping[str, str], how: dict[str, Any], code: str, message: str) -> None:
    issues_found = issues(cells, **how)
    issues_found.pop("unused-columns", None)
    assert issues_found == {code: ("warning", message)}


def test_text_read_as_a_number_by_policy_is_a_note() -> None:
    issues_found = issues({"age": "50+", "spo2": "97"}, text_values="approximate")
    assert {code: severity for code, (severity, _) in issues_found.items()} == {"text-for-numbers": "note"}


def test_a_file_is_checked_beyond_its_configured_columns(tmp_path: Path) -> None:
    (tmp_path / "row.csv").write_text(f"name,value,unit\nage,50,years\nmrn,4711,\nward,{SECRET},\n")
    assert issues(tmp_path / "row.csv") == {
        "identifiers": ("warning", "the row seems to hold name, record number"),
        "unused-columns": ("note", "names that match no configured column: 2"),
    }
    (tmp_path / "row.csv").write_text("age,spo2,sex,dob\n50,97,F,\n")
    assert set(issues(tmp_path / "row.csv")) == {"unused-columns"}
