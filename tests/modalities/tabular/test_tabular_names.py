"""Laboratory names as hospitals write them are matched to columns or reported as not used."""

from pathlib import Path

import numpy as np
import pytest

from polyclinic.modality import UnreadableSource
from polyclinic_tabular import Tabular

LAB = {"numeric": ["creatinine", "haemoglobin", "urea", "bnp"], "units": {"creatinine": "umol/L", "urea": "mmol/L"}}


def _read(tmp_path: Path, text: str) -> tuple[list[float | None], tuple[str, ...]]:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    row = Tabular(**LAB).read(path)
    return [None if np.isnan(value) else value for value in row.values.tolist()], row.unused


@pytest.mark.public_report(23)
@pytest.mark.parametrize(
    "name",
    [
        *("creatinine", "Creatinine", " CREATININE ", "creatinine (umol/L)", "Creatinine [\u00b5mol/l]", "Kreatinin"),
        *("CREA", "Cr", "serum_creatinine", "Creatinina", "cr\u00e9atinine"),
    ],
)
def test_a_name_in_any_spelling_is_matched_to_its_column(tmp_path: Path, name: str) -> None:
    for text in (f"name,value,unit\n{name},88,\n", f"{name},crp\n88,4\n"):
        values, unused = _read(tmp_path, text)
        assert values == [88, None, None, None]
        assert unused == (("crp",) if "crp" in text else ())
    row = Tabular(**LAB).read({name: "88", "note": "x"})
    assert (row.values[0], row.unused) == (88.0, ("note",))


@pytest.mark.public_report(23)
@pytest.mark.parametrize("name", ["BUN", "blood urea nitrogen", "NT-proBNP", "creatine kinase", "haemoglobin A1c"])
def test_a_related_quantity_is_not_matched(tmp_path: Path, name: str) -> None:
    values, unused = _read(tmp_path, f"name,value\n{name},88\nurea,5\n")
    assert values == [None, None, 5, None]
    assert unused == (name,)


@pytest.mark.public_report(23)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,value\nCreatinine (mg/dL),1.1\n", "'creatinine' is not in umol/L"),
        ("name,value,unit\nKreatinin,1.1,mg/dL\n", "'creatinine' is not in umol/L"),
        ("name,value\nCreatinine,88\nCREA,97\n", "'creatinine' is given more than once"),
        ("Creatinine (mg/dL)\n1.1\n", "'creatinine' is not in umol/L"),
        ("name,value\nferritin,9\n", r"none of its 1 columns is configured; expected some of \['creatinine'"),
    ],
)
def test_contradictory_units_and_repeats_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UnreadableSource, match=reason):
        _read(tmp_path, text)


def test_equal_and_empty_repeats_count_as_one_value(tmp_path: Path) -> None:
    assert _read(tmp_path, "name,value\nCreatinine,88\ncrea,88\nCr,\n")[0] == [88, None, None, None]


def test_columns_that_differ_only_in_case_need_their_exact_names() -> None:
    row = Tabular(numeric=["CRP", "crp"]).read({"CRP": "1", "crp": "2", "Crp": "3"})
    assert row.values.tolist() == [1.0, 2.0]
    assert row.unused == ("Crp",)


def test_the_note_on_unused_columns_is_short_and_printable() -> None:
    tabular = Tabular(**LAB)
    names = ["\x1b[31mred", "a" * 500, *(f"n{index}" for index in range(7))]
    (note,) = tabular.notes(tabular.read({"urea": "5", **dict.fromkeys(names, "1")}))
    assert note.startswith("not used, as no column has the name: '\\x1b[31mred', 'aaa")
    assert note.endswith(" and 4 more")
    assert len(note) < 160
    assert tabular.notes(tabular.read({"urea": "5"})) == ()


def test_names_of_people_are_counted_but_not_quoted() -> None:
    tabular = Tabular(**LAB)
    (note,) = tabular.notes(tabular.read({"urea": "5", "DOE^JOHN": "1", "zinc": "2", "Patient name: Jane Roe": "3"}))
    assert note == "not used, as no column has the name: 'zinc' and 2 more"
    (note,) = tabular.notes(tabular.read({"urea": "5", "seen by Dr. Roe": "1"}))
    assert note == "not used, as no column has the name: 1 name"


def test_columns_are_adapted_to_the_cohort() -> None:
    rows = [
        {"LVEF": f"{50 + index}", "smoker": "yes" if index % 2 else "no", "note": f"text {index}", "empty": "NA"}
        for index in range(40)
    ]
    tabular = Tabular()
    left_out = tabular.adapt(rows)
    assert set(left_out) == {"note", "empty"}
    assert (tabular.numeric, tabular.categorical) == (["LVEF"], {"smoker": ["no", "yes"]})
    tabular.fit([tabular.read(row) for row in rows])
    restored = Tabular()
    restored.load_state(tabular.state())
    item, restored_item = (plugin.prepare(plugin.read(rows[3])) for plugin in (tabular, restored))
    assert all((item[name] == restored_item[name]).all() for name in item)
    assert item["levels"].tolist() == [2]
    assert Tabular(numeric=["LVEF"]).adapt(rows) == {}
    assert Tabular().adapt([Path("a.csv")]) == {}
    with pytest.raises(ValueError, match="at least one"):
        Tabular().adapt([{"note": f"free text {index}"} for index in range(30)])
