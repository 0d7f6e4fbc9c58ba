"""De-identified rows hold the read values of the configured columns and nothing else."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyclinic.modality import Identity, UnreadableSource
from polyclinic_tabular import Tabular

SECRET = "DOE^JOHN"
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711", names=(SECRET,))


def plugin(**settings: Any) -> Tabular:
    columns = {
        "numeric": ["age", "sodium", "dosage"],
        "categorical": {"sex": ["F", "M"]},
        "units": {"sodium": "mmol/L"},
    }
    return Tabular(**{**columns, **settings})


def test_unconfigured_cells_and_text_in_numeric_columns_are_removed(tmp_path: Path) -> None:
    source = {"age": "93", "sodium": f"140 {SECRET}", "dosage": "104.5", "sex": SECRET, "name": SECRET, "note": "7"}
    cleaned = plugin(text_values="missing").deidentify(source, tmp_path / "abc", IDENTITY, suspects=False)
    assert cleaned.source == {"age": "90", "sodium": "", "dosage": "104.5", "sex": ""}
    assert cleaned.removed == {"ages": 1, "column 'name': it is not read": 1, "column 'note': it is not read": 1}
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_with_exactly_the_values_read(tmp_path: Path) -> None:
    source = tmp_path / f"{SECRET}.csv"
    source.write_text(
        f"name,value,unit\nage,71.30000000000001,\nsodium,1e2,mmol/L\nsex,M,{SECRET}\n{SECRET},{SECRET},\n"
    )
    cleaned = plugin().deidentify(source, tmp_path / "abc", IDENTITY, suspects=False)
    assert cleaned.source == tmp_path / "abc.csv"
    with (tmp_path / "abc.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["name", "value", "unit"],
        ["age", "71.30000000000001", ""],
        ["sodium", "100", "mmol/L"],
        ["dosage", "", ""],
        ["sex", "M", ""],
    ]
    before, after = plugin().read(source), plugin().read(tmp_path / "abc.csv")
    np.testing.assert_array_equal(after.values, before.values)
    np.testing.assert_array_equal(after.levels, before.levels)


def test_numbers_that_are_not_measurements_are_removed_and_names_returned(tmp_path: Path) -> None:
    source = tmp_path / "study.csv"
    source.write_text(
        "name,value,unit\nage,19610829,\nsodium,491711471147,mmol/L\ndosage,9999999,\npatient_name,Jo Roe,\n"
    )
    assert plugin().names(source) == ["Jo Roe"]
    assert plugin().names({"patient name": "Jo Roe", "sodium": "1"}) == ["Jo Roe"]
    cleaned = plugin().deidentify(source, tmp_path / "abc", IDENTITY, suspects=False)
    assert cleaned.removed == {
        "numbers too long for a measurement": 2,
        "column whose name may name a person: it is not read": 1,
    }
    assert plugin().read(tmp_path / "abc.csv").values.tolist()[2] == 9_999_999


def test_invalid_text_is_refused_without_quoting_it(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource) as report:
        plugin().deidentify({"age": SECRET}, tmp_path / "abc", IDENTITY, suspects=False)
    assert "DOE" not in str(report.value)


def test_unlisted_levels_are_written_only_if_they_are_codes(tmp_path: Path) -> None:
    rows = [
        {"sex": sex, "smoker": smoker, "physician": physician, "crp": str(index), "mrn": str(4711000 + index)}
        for index, (sex, smoker, physician) in enumerate([("F", "never", "Dr Doe"), ("M", "former", "Dr Roe")] * 5)
    ]
    tabular = Tabular()
    assert tabular.adapt(rows) == {
        "mrn": "it looks like an identifier; if it is not, add it to `numeric` or `categorical`"
    }
    cleaned = tabular.deidentify(rows[0], tmp_path / "abc", IDENTITY, suspects=False)
    assert cleaned.source == {"crp": "0", "sex": "F", "smoker": "never"}
    assert cleaned.removed == {
        "column 'physician': its levels may name a person; list them in `categorical`": 1,
        "column 'mrn': it is not read": 1,
    }
