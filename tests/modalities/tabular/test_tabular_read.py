import csv
from pathlib import Path

import numpy as np
import pytest

from polyclinic.modality import UnreadableSource
from polyclinic_tabular import Tabular
from polyclinic_tabular.quantities import approximate_number

FIGURE1 = Path(__file__).parents[4] / "shared" / "real" / "figure1" / "metadata.csv"
LAB = {"numeric": ["sodium", "crp"], "categorical": {"sex": ["F", "M"]}}


def _csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "doe.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "name,value\nsodium,141\nsex,M\nother,9\n",
        "Name,Unit,Value\r\nsex,,M\r\nsodium,mmol/L, 141 \r\n\r\n",
        "sex,sodium,crp\nM,141,NA\n",
        "\ufeffname,value\nsodium,1.41e2\nsex,M\ncrp,\n",
    ],
)
def test_long_files_wide_files_and_columns_read_the_same(tmp_path: Path, text: str) -> None:
    tabular = Tabular(**LAB, units={"sodium": "mmol/L"})
    for source in (_csv(tmp_path, text), {"sodium": "141", "sex": "M", "crp": "n/a"}):
        row = tabular.read(source)
        np.testing.assert_array_equal(row.values, [141.0, np.nan])
        assert row.levels.tolist() == [2]
        assert tabular.describe(row)["observed"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n \n", "empty"),
        ("name,value\nsodium\n", "length"),
        ('name,value\nsodium,"141\n', "quotation"),
        ("sodium,sex\n141,M\n139,F\n", "one row per file"),
        ("name,value\nsodium,141\nsodium,139\n", "'sodium'.*more than once"),
        ("name,value,unit\nsodium,141,mg/dL\n", "'sodium' is not in mmol/L"),
        ("name,value\nferritin,141\n", "set `numeric`"),
        ("name,value\nsodium,141\nsex,\xe9\n", "set `encoding`"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UnreadableSource, match=reason) as caught:
        Tabular(**LAB, units={"sodium": "mmol/L"}).read(_csv(tmp_path, text, "cp1252"))
    assert "doe" not in str(caught.value)


def test_a_row_without_values_is_accepted() -> None:
    row = Tabular(**LAB).read({"sodium": "", "crp": "None", "sex": "nan"})
    assert row.facts == {"observed": 0.0, "text_values": 0.0, "unknown_levels": 0.0, "implausible": 0.0}


def test_unknown_levels_and_implausible_values_are_missing_and_counted() -> None:
    row = Tabular(**LAB, plausible={"sodium": (90, 200)}).read({"sodium": "14.1", "crp": "3", "sex": "female"})
    np.testing.assert_array_equal(row.values, [np.nan, 3.0])
    assert row.levels.tolist() == [0]
    assert (row.facts["unknown_levels"], row.facts["implausible"]) == (1.0, 1.0)


@pytest.mark.parametrize("text", ["37,5", "1_000", "inf", "0x10", "1e999", "<5", "see note"])
def test_text_is_refused_by_default_and_never_quoted(text: str) -> None:
    with pytest.raises(UnreadableSource, match=r"'crp' holds text.*`text_values`") as caught:
        Tabular(**LAB).read({"crp": text})
    assert text not in str(caught.value)


def test_text_values_are_missing_or_approximated_by_policy() -> None:
    masked, approximated = (
        Tabular(**LAB, text_values=policy).read({"crp": "<5"}) for policy in ("missing", "approximate")
    )
    assert np.isnan(masked.values[1])
    assert approximated.values[1] == 5.0
    assert masked.facts["text_values"] == approximated.facts["text_values"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("50+", 50), ("38+ C", 38), (">90", 90), ("<= 5", 5), ("≥ 3.5", 3.5), ("91-92", 91.5), ("91 to 92 %", 91.5)],
        *[("38 C", 38), ("38.5°C", 38.5), ("140mmol/L", 140), ("80 /min", 80), ("-2.5 mmol/L", -2.5)],
        *[("early 40s", 42), ("mid 50s", 55), ("Late 60s", 67), ("low 90s", 92), ("high 80s", 88), ("mid-50's", 55)],
        *[("37,5", None), ("120/80", None), ("50s", None), ("3 or 4", None), ("12-5", None), ("2020-03-04", None)],
        *[("x", None), ("early 45s", None), ("++", None), ("5 days ago", None), ("1.2.3", None)],
    ],
)
def test_approximate_numbers_are_parsed(text: str, expected: float | None) -> None:
    assert approximate_number(text) == expected


@pytest.mark.skipif(not FIGURE1.exists(), reason="the Figure 1 table is not beside the repository")
def test_the_real_table_is_read() -> None:
    with FIGURE1.open(encoding="cp1252", newline="") as stream:
        sources = list(csv.DictReader(stream))
    columns = {"numeric": ["age", "temperature", "pO2 saturation"], "categorical": {"sex": ["F", "M"]}}
    with pytest.raises(UnreadableSource, match="'age'"):
        [Tabular(**columns).read(source) for source in sources]
    rows = [Tabular(**columns, text_values="approximate").read(source) for source in sources]
    values = np.stack([row.values for row in rows])
    # by hand: 29 ages, 4 temperatures, 12 saturations, 22 patients of known sex
    assert (~np.isnan(values)).sum(axis=0).tolist() == [29, 4, 12]
    assert sum(int(row.levels[0] > 0) for row in rows) == 22
    assert np.nanmax(values[:, 2]) == 92
    assert sum(row.facts["text_values"] for row in rows) == 11
