"""Tables are read completely or refused, and cells are read as written."""

import bz2
import gzip
import lzma
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from polyclinic.cohort import Cohort, read_cohort

HEADER = ["study", "mrn", "split", "text", "age", "edema"]
ROWS = [
    [f"s{index}", f"Q{index}", ("train", "train", "val", "test")[index % 4], f"Text number {index}.", str(40 + index),
     str(index % 2)]
    for index in range(8)
]  # fmt: skip
SPEC: dict[str, Any] = {
    "table": "table.csv",
    "study_id": "study",
    "patient_id": "mrn",
    "split": "split",
    "modalities": {"report": {"text": "text"}, "tabular": {"columns": ["age"]}},
    "labels": ["edema"],
}


def _csv(rows: list[list[str]] = ROWS, header: list[str] = HEADER, delimiter: str = ",") -> str:
    return "\n".join(delimiter.join(row) for row in [header, *rows]) + "\n"


def _rows_with(column: str, cells: list[str]) -> list[list[str]]:
    index = HEADER.index(column)
    return [[*row[:index], cell, *row[index + 1 :]] for row, cell in zip(ROWS, cells, strict=True)]


def _read(folder: Path, content: str | bytes | None = None, **changes: Any) -> Cohort:
    spec = SPEC | changes
    if content is not None:
        (folder / spec["table"]).write_bytes(content if isinstance(content, bytes) else content.encode())
    path = folder / "cohort.yaml"
    path.write_text(yaml.safe_dump(spec, allow_unicode=True))
    return read_cohort(path)


def _read_labelled(folder: Path, table: str, labels: str) -> Cohort:
    """Read a cohort whose labels are written as by hand, without the quotes of a program."""
    (folder / "table.csv").write_text(table)
    path = folder / "cohort.yaml"
    path.write_text(yaml.safe_dump(SPEC | {"labels": []}).replace("labels: []", f"labels: {labels}"))
    return read_cohort(path)


def _labels(cohort: Cohort) -> list[float]:
    return [study.labels[0] for study in cohort.studies]


PLAIN = _csv()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            PLAIN.replace("\n", ",\n").replace(",\n", "\n", 1), r"7 cells in line 2, expected 6 .* delimiter after",
            marks=pytest.mark.public_report(11),
        ),
        (PLAIN.replace("s3,", ""), "5 cells in line 5, expected 6"),
        (PLAIN.replace("number 3", "number, 3"), "7 cells in line 5"),
        pytest.param(
            _csv([[*row, "1"] for row in ROWS], [*HEADER, "edema"]), r"2 columns called 'edema'",
            marks=pytest.mark.public_report(12),
        ),
        (_csv([[*row, "1"] for row in ROWS], [*HEADER, " edema "]), r"2 columns called 'edema'"),
        (PLAIN.replace("Text number 2", '"Text number 2'), r"quotation mark .* row that starts in line 4"),
        pytest.param(
            PLAIN.replace("Text number 2", '"Text number 2').replace("Text number 5", '"Text number 5'),
            "row that starts in line 4 .* line 7", marks=pytest.mark.public_report(13),
        ),
        (
            PLAIN.replace("Text number 2", '"Text number 2').replace("number 5.", 'number 5."'),
            "quoted cell in the row that starts in line 4 which contains a row of as many cells",
        ),
        (PLAIN.replace("Text number 2.", '"Text" number 2.'), "quotation mark"),
        (PLAIN.split("\n", 1)[1], "none of the required columns in its first line of 6 cells"),
        (_csv(delimiter=";"), "none of the required columns"),
        ("", "is empty"),
        (_csv([]), "has no rows"),
        (PLAIN.encode("utf-16-le"), "set `encoding`, such as utf-16-le"),
        (PLAIN.replace("Text", "Müdigkeit").encode("cp1252"), r"not utf-8 \(line 2\); set `encoding` to cp1252"),
        (PLAIN.replace("Text", "Легкие").encode("cp1251"), r"not utf-8 \(line 2\); set `encoding`$"),
        (gzip.compress(PLAIN.encode())[:-9], r"cannot be read as a table \(EOFError\)"),
        (b"PAR1" + PLAIN.encode(), "cannot be read as a table"),
    ],
)  # fmt: skip
def test_damaged_tables_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        _read(tmp_path, content)
    assert not any(row[1] in str(caught.value) for row in ROWS)


def test_a_report_with_several_lines_is_read(tmp_path: Path) -> None:
    text = '"Heart, lungs, mediastinum, bones, pleura, all normal.\nNo ""acute"" process, none, at, all, really."'
    report = _read(tmp_path, PLAIN.replace("Text number 2.", text)).studies[2].sources["report"]
    assert report == text[1:-1].replace('""', '"')


def _zipped(content: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.csv", content)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("TABLE.CSV", lambda content, path: path.write_bytes(content)),
        ("table.tsv", lambda content, path: path.write_bytes(content.replace(b",", b"\t"))),
        ("table.TSV.gz", lambda content, path: path.write_bytes(gzip.compress(content.replace(b",", b"\t")))),
        ("table.csv.gz", lambda content, path: path.write_bytes(gzip.compress(content))),
        ("table.bz2", lambda content, path: path.write_bytes(bz2.compress(content))),
        ("table.xz", lambda content, path: path.write_bytes(lzma.compress(content))),
        ("table.zip", lambda content, path: _zipped(content, path)),
        ("table.csv", lambda content, path: path.write_bytes(content.replace(b",", b", ").replace(b"\n", b"\r\n\r\n"))),
        ("table.csv", lambda content, path: path.write_bytes(content.replace(b"\n", b"\r"))),
        ("table.csv", lambda content, path: path.write_bytes(b"\xef\xbb\xbf" + content)),
        ("table.csv", lambda content, path: path.write_bytes(content.decode().encode("utf-16"))),
        ("table.csv", lambda content, path: path.write_bytes(content.decode().encode("utf-32"))),
        ("TABLE.PARQUET", lambda content, path: pd.DataFrame(ROWS, columns=HEADER).to_parquet(path)),
        ("table.pq", lambda content, path: pd.DataFrame(ROWS, columns=HEADER).to_parquet(path)),
        pytest.param(
            "table.parquet", lambda _, path: pd.DataFrame(ROWS, columns=HEADER).set_index("study").to_parquet(path),
            marks=pytest.mark.public_report(26),
        ),
        ("table.csv", lambda _, path: pd.DataFrame(ROWS, columns=HEADER).to_csv(path)),
    ],
)  # fmt: skip
def test_a_table_reads_the_same_in_every_format(
    tmp_path: Path, name: str, write: Callable[[bytes, Path], object]
) -> None:
    write(PLAIN.encode(), tmp_path / name)
    rows = [
        (study.study_id, study.patient_id, study.split, study.sources["report"], study.sources["tabular"], study.labels)
        for study in _read(tmp_path, table=name).studies
    ]
    assert rows == [(row[0], row[1], row[2], row[3], {"age": row[4]}, (float(row[5]),)) for row in ROWS]


def test_blanks_floats_and_booleans_of_parquet_are_read(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS, columns=HEADER)
    table["age"], table["edema"] = [float("nan"), *np.arange(1.5, 8)], [bool(index % 2) for index in range(8)]
    table.to_parquet(tmp_path / "table.pq")
    cohort = _read(tmp_path, table="table.pq")
    assert "tabular" not in cohort.studies[0].sources
    assert cohort.studies[1].sources["tabular"] == {"age": "1.5"}
    assert _labels(cohort) == [0.0, 1.0] * 4


def test_missing_markers_match_numbers_in_values_and_text_in_ids(tmp_path: Path) -> None:
    rows = _rows_with("age", ["-999", "-999.0", " -999 ", "-9.99e2", "-998", "0-999", "999", "-999.5"])
    cohort = _read(tmp_path, _csv(rows), missing=[-999])
    assert [study.sources.get("tabular") for study in cohort.studies] == [
        *([None] * 4), *({"age": cell} for cell in ("-998", "0-999", "999", "-999.5")),
    ]  # fmt: skip
    ids = ["NA", "None", "nan", "NULL", "01", "1e5", "1", "0"]
    rows = [[cell, *row[1:]] for cell, row in zip(ids, _rows_with("mrn", ids), strict=True)]
    rows = [[*row[:2], "train", *row[3:]] for row in rows]
    cohort = _read(tmp_path, _csv(rows), missing=["1.0"])
    assert [study.study_id for study in cohort.studies] == [study.patient_id for study in cohort.studies] == ids


@pytest.mark.public_report(16)
@pytest.mark.parametrize("cell", ["NA", "nan", "None", "null", "N/A", "unknown", "-1", "?"])
def test_a_shared_id_for_unknown_patients_is_refused(tmp_path: Path, cell: str) -> None:
    rows = _rows_with("mrn", [cell, "Q1"] * 4)
    with pytest.raises(ValueError, match=rf"4 studies \(such as \['s0', 's2', 's4', 's6'\]\) have .*{cell[0]}"):
        _read(tmp_path, _csv(rows), split={"train": 0.5, "test": 0.5})


@pytest.mark.public_report(9)
@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (("yes", "no"), "{yes: 1, no: 0}"),
        (("on", "off"), "{on: 1, off: 0}"),
        (("true", "false"), "{true: 1, false: 0}"),
        (("True", "FALSE"), "{true: 1, false: 0}"),
        (("1.0", "0.0"), "{1: 1, 0: 0}"),
        (("1", "0"), "{1.0: 1, 0.0: 0}"),
        (("010", "1_0"), "{010: true, 1_0: false}"),
        (("12:30", "~"), "{12:30: 1, ~: 0}"),
        (("0x1F", "null"), "{0x1F: 1.0, null: 0e0}"),
    ],
)
def test_keys_of_values_match_the_cells(tmp_path: Path, cells: tuple[str, str], values: str) -> None:
    labels = f"{{edema: {{column: edema, values: {values}}}}}"
    assert _labels(_read_labelled(tmp_path, _csv(_rows_with("edema", list(cells) * 4)), labels)) == [1.0, 0.0] * 4


@pytest.mark.public_report(9)
def test_classes_are_the_texts_of_the_cells(tmp_path: Path) -> None:
    table = _csv(_rows_with("edema", ["yes", "no"] * 4)).replace("edema", "no", 1)
    cohort = _read_labelled(tmp_path, table, "{1: {column: no, classes: [no, yes]}}")
    assert _labels(cohort) == [1.0, 0.0] * 4
    assert (cohort.labels, cohort.targets[0].names) == (("1",), ("no", "yes"))


@pytest.mark.parametrize(
    ("cells", "entry", "message"),
    [
        (["Positive", "negative"], {"values": {"positive": 1, "negative": 0}}, "'Positive' as .* lists 'positive'"),
        (["Ja", "nein"], {"values": {"positive": 1}}, "lists none of the 2 different cells of column 'edema'"),
        (["1", "0"], {"values": {"pos": 1, "neg": 0}}, "lists none of the 2 different cells"),
        (["a", "b"], {"values": {"1": 1, "1.0": 0}}, "'1' and '1.0' match the same cell"),
        (["a", "b"], {"values": {"a": "much"}}, r"labels.edema.values = 'much', expected a number"),
        (["a", "b"], {"values": {"a": ".inf"}}, "expected a number"),
        (["a", "b"], {"values": {}}, "expected a mapping such as"),
        (["a", "b"], {"classes": ["a", "A"]}, "has 'b' as label"),
        *(
            pytest.param([cell, "1"], entry, "'s0' has .* label 'edema', expected a finite number .* in column 'edema'",
                         marks=pytest.mark.public_report(28))
            for cell in ("inf", "-Infinity", "nan", "1_0", "\uff11", "0x10", "1e39", "1e999", "1,5", "\u0661", "1 0")
            for entry in ({}, {"unit": "%"})
        ),
        (["q0", "1"], {}, "has the id of its patient as label"),
        (["The patient Q0 has had a long history of heart failure.", "1"], {}, "has a text of 55 characters"),
    ],
)  # fmt: skip
def test_label_cells_without_a_meaning_are_refused(
    tmp_path: Path, cells: list[str], entry: dict[str, Any], message: str
) -> None:
    rows = _rows_with("edema", [f'"{cell}"' for cell in cells * 4])
    with pytest.raises(ValueError, match=message) as caught:
        _read(tmp_path, _csv(rows), labels={"edema": {"column": "edema", **entry}})
    assert "q0" not in str(caught.value).lower()


def test_cells_that_values_does_not_name_are_counted(tmp_path: Path) -> None:
    rows = _rows_with("edema", ["pos", "neg", "maybe", "maybe", "only one", "", "pos", "later"])
    values = {"pos": 1, "neg": 0, "later": None}
    cohort = _read(tmp_path, _csv(rows), labels={"edema": {"column": "edema", "values": values}})
    np.testing.assert_array_equal(_labels(cohort), [1, 0, *[np.nan] * 4, 1, np.nan])
    assert cohort.unnamed == {"edema": {"maybe": 2, "": 1}}


def test_values_of_a_quantity_leave_its_numbers_unchanged(tmp_path: Path) -> None:
    rows = _rows_with("age", ["45", ">89", "61.5", "unclear", "", "1e1", "inf", "> 89"])
    entry = {"column": "age", "unit": "years", "values": {">89": 90}}
    cohort = _read(tmp_path, _csv(rows), labels={"age": entry})
    np.testing.assert_array_equal(_labels(cohort), [45, 90, 61.5, np.nan, np.nan, 10, np.nan, np.nan])
    assert cohort.unnamed == {"age": {"": 3}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"missing": "NA"}, "missing = 'NA', expected a list"),
        ({"groups": "split"}, "groups = 'split', expected a list"),
        ({"labels": "edema"}, "labels = 'edema', expected a list of columns"),
        ({"modalities": ["report"]}, "expected a mapping"),
        ({"modalities": {"tabular": {"columns": "age"}}}, "modalities.tabular.columns = 'age', expected a list"),
        ({"modalities": {"report": {"text": ["text"]}}}, "expected a text"),
        ({"study_id": ["study"]}, "study_id = .*, expected a text"),
        ({"patient_id": {"column": "mrn", "pattern": "("}}, "not a regular expression"),
        ({"patient_id": {"column": "mrn", "pattern": "p"}}, "expected a group in it"),
        ({"split": {"train": "most"}}, "split.train = 'most', expected a number"),
        ({"encoding": "klingon"}, "encoding 'klingon', expected one that Python supports"),
        ({"encoding": "rot13"}, "expected one that Python supports"),
        ({"labels": {"edema": {"column": ["edema"]}}}, "expected a text"),
        ({"labels": {"edema": None}}, "got labels.edema"),
    ],
)
def test_invalid_settings_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, PLAIN, **changes)


@pytest.mark.public_report(10)
def test_duplicate_keys_of_a_cohort_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cohort.yaml"
    path.write_text(yaml.safe_dump(SPEC, sort_keys=False) + "labels:\n- age\n")
    with pytest.raises(ValueError, match=r"cohort.yaml names 'labels' twice \(lines 11 and 13\)"):
        read_cohort(path)


@pytest.mark.public_report(15)
@pytest.mark.parametrize("other", ["00100", "100.0", "\uff11\uff10\uff10", "\u200b100", "1 00", "1001"])
def test_one_patient_under_two_ids_is_in_one_split(tmp_path: Path, other: str) -> None:
    rows = _rows_with("mrn", ["100", "Q1", "Q2", other, "Q4", "Q5", "Q6", "Q7"])
    if other in ("1 00", "1001"):
        assert len(_read(tmp_path, _csv(rows)).studies) == 8
        return
    with pytest.raises(ValueError, match=r"1 patients are in more than one split under ids that differ only in zeros"):
        _read(tmp_path, _csv(rows))


PNG = b"\x89PNG, or near enough"


def _files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)


NFC, NFD = (unicodedata.normalize(form, "Ärzte") for form in ("NFC", "NFD"))


@pytest.mark.public_report(14)
@pytest.mark.parametrize(
    ("template", "cells", "files", "expected"),
    [
        ("images/{acc}.*", ["A[1]", "B*", "C?"], ["A[1].png", "A1.png", "B*.png", "Bx.png", "C?.png", "Cx.png"],
         ["A[1].png", "B*.png", "C?.png"]),
        ("images/{acc}.png", ["A[1]", "{B}", "C*"], ["A[1].png", "{B}.png", "C*.png"],
         ["A[1].png", "{B}.png", "C*.png"]),
        ("images/{acc}.png", ["A", "B", "C"], ["A.PNG", "B.png", "C.Png"], ["A.PNG", "B.png", "C.Png"]),
        ("images/{acc}_*.png", ["A", "B", "C"], ["A_1.PNG", "B_1.png", "B_1.PNG"], ["A_1.PNG", "B_1.png", None]),
        ("images/{acc}.nii.gz", ["A", "B", "1.2"], ["A.NII.GZ", "B.nii.gz", "1.2.nii.gz"],
         ["A.NII.GZ", "B.nii.gz", "1.2.nii.gz"]),
        ("images/{acc}.png", [NFC + "0", NFD + "1", NFC], [NFD + "0.png", NFC + "1.png", NFC + ".png", NFD + ".png"],
         [NFD + "0.png", NFC + "1.png", NFC + ".png"]),
        ("images/{acc}*", [NFC + ".", "B.", "C."], [NFD + ".png", "B.png"], [NFD + ".png", "B.png", None]),
        ("images/{acc}/*.png", ["A", "", "C"], ["A/1.png", "legend.png", "C/.hidden.png"], ["A/1.png", None, None]),
        ("images/{acc}.*", ["A", "", "C"], ["A.png", ".thumbs.png", "._C.png"], ["A.png", None, None]),
        ("images/{acc}/*", ["A", "B", "C"], ["A/Thumbs.db", "A/1.png", "B/.DS_Store", "C/._1.png", "C/1.png"],
         ["A/1.png", None, "C/1.png"]),
        ("images/**/{acc}.png", ["A", "B", "C"], ["A.png", "x/y/B.png", ".x/C.png"], ["A.png", "x/y/B.png", None]),
        ("images/{acc}/{edema}.png", ["A", "B", "../B"], ["A/0.png", "B/1.png"], ["A/0.png", "B/1.png", None]),
        ("images/{{{acc}}}.png", ["A", "B", "C"], ["{A}.png"], ["{A}.png", None, None]),
        ("images/[AB]*{acc}.png", ["1", "2", "3"], ["A1.png", "B-2.png", "C3.png"], ["A1.png", "B-2.png", None]),
        ("images/.{acc}.p*", ["A", "B", "C"], [".A.png"], [".A.png", None, None]),
    ],
)  # fmt: skip
def test_templates_find_the_exact_file(
    tmp_path: Path, template: str, cells: list[str], files: list[str], expected: list[str | None]
) -> None:
    _files(tmp_path, *files)
    rows = [[*row[:5], str(index), cell] for index, (row, cell) in enumerate(zip(ROWS, cells, strict=False))]
    rows = [[*row[:5], str(index % 2), row[6]] for index, row in enumerate(rows)]
    cohort = _read(tmp_path, _csv(rows, [*HEADER, "acc"]), modalities={"xray": {"path": template}})
    paths = [study.sources.get("xray") for study in cohort.studies]
    assert paths == [None if name is None else tmp_path / "images" / name for name in expected]


@pytest.mark.public_report(14)
@pytest.mark.parametrize(
    ("path", "files", "message"),
    [
        ("images/{acc:05d}.png", [], "format after 'acc' in `modalities.xray.path`.*leading zeros"),
        ("images/{acc!r}.png", [], "format after 'acc'"),
        ("images/{acc.png", [], "unbalanced braces in `modalities.xray.path`"),
        ("images/{acc}}.png", [], "unbalanced braces"),
        ("images/{}.png", [], "expected the name of a column between the braces"),
        ("images/{0}.png", [], "expected the name of a column"),
        ("images/{acc.__class__}.png", [], "names column 'acc.__class__'"),
        ("images/{acc}*", ["a1.png", "a1.PNG"], "study 's0': 2 files match"),
        (
            "images/{acc}.png",
            ["A1.png", "a2.png"],
            r"xray files of 1 studies differ .* case of letters \(studies \['s0'\]",
        ),
        ("images/{acc}.png", ["a1.PNG", "a1.Png"], "study 's0': 2 files match"),
        ("file", ["a1.png"], r"xray source of 1 studies does not exist \(studies \['s1'\]\)"),
    ],
)
def test_templates_without_a_unique_file_are_refused(tmp_path: Path, path: str, files: list[str], message: str) -> None:
    _files(tmp_path, *files)
    rows = [[*row, f"a{index}", f"images/a{index}.png"] for index, row in enumerate(ROWS[:2], start=1)]
    with pytest.raises(ValueError, match=message) as caught:
        _read(tmp_path, _csv(rows, [*HEADER, "acc", "file"]), modalities={"xray": {"path": path}})
    assert str(tmp_path) not in str(caught.value)


def test_a_named_file_is_found_in_another_unicode_normal_form(tmp_path: Path) -> None:
    _files(tmp_path, NFD + ".png", "b.PNG")
    rows = [[*row, cell] for row, cell in zip(ROWS, [f"images/{NFC}.png", "images/b.png"], strict=False)]
    cohort = _read(tmp_path, _csv(rows, [*HEADER, "file"]), modalities={"xray": {"path": "file"}})
    assert [study.sources["xray"] for study in cohort.studies] == [
        tmp_path / f"images/{NFD}.png",
        tmp_path / "images/b.PNG",
    ]
