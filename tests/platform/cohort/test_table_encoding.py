"""A table that is not UTF-8 is read only where its letters show its encoding."""

import gzip
from pathlib import Path

import pytest

from polyclinic.cohort.any_table import read_any_table
from polyclinic.cohort.table_encoding import certain_encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe,Müller", "cp1252"),
        ("Größe", "mac_roman"),
        ("Größe", "cp850"),
        ("café", "cp1252"),
        ("père,élève,ça,août", "cp1252"),
        ("año,mamá", "cp1252"),
        ("São,coração", "cp1252"),
        ("blåbær,ø", "cp1252"),
        ("BMI (kg/m²),37 °C", "cp1252"),
        ("mały był", "cp1250"),
        ("Größe,Müller", "cp1250"),
        ("low 90\u2019s on 2 L,38°", "cp1252"),
        ("\u201cfever\u201d \u2013 38 °C, 5 µg\u2026", "cp1252"),
        ("École,Été", "cp1252"),
    ],
)
def test_an_encoding_that_alone_gives_words_is_used(text: str, encoding: str) -> None:
    found = certain_encoding(text.encode(encoding))
    assert text.encode(encoding).decode(found) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("père", "cp1252"),  # pčre in cp1250
        ("patient\u2019s", "cp1252"),  # patientís in mac_roman
        ("año", "cp1252"),
        ("på", "cp1252"),
        ("są", "iso8859_2"),
        ("Dvořák", "cp1250"),
        ("Иванов", "cp1251"),
        ("да нет", "cp1251"),
        ("日本", "cp932"),
        ("Größe", "utf-16-le"),
    ],
)
def test_letters_of_several_encodings_are_refused(text: str, encoding: str) -> None:
    assert certain_encoding(text.encode(encoding)) == ""


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_is_read_in_its_encoding(tmp_path: Path, packed: bool) -> None:
    for name, text in (("good", "id,Größe\n1,groß\n"), ("bad", "id,Größe\n1,pčre\n")):
        content = text.encode("cp1252" if name == "good" else "cp1250")
        (tmp_path / f"{name}.csv").write_bytes(gzip.compress(content) if packed else content)
    table = read_any_table(tmp_path / "good.csv")
    assert list(table.columns) == ["id", "Größe"]
    assert table.to_numpy().tolist() == [["1", "groß"]]
    assert table.attrs["encoding"] == "cp1252"
    with pytest.raises(ValueError, match="is not UTF-8, and its letters do not show its encoding") as caught:
        read_any_table(tmp_path / "bad.csv")
    assert "re" not in str(caught.value).split()


def test_a_byte_order_mark_decides(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,Größe\n1,Иванов\n", encoding="utf-16")
    table = read_any_table(tmp_path / "a.csv")
    assert table["Größe"].tolist() == ["Иванов"]
    assert "encoding" not in table.attrs


def test_a_stated_encoding_is_used_where_a_table_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes("id,note\n1,patient\u2019s\n".encode("cp1252"))
    (tmp_path / "good.csv").write_text("id,note\n1,patient\u2019s\n", encoding="utf-8")
    for name in ("bad", "good"):
        table = read_any_table(tmp_path / f"{name}.csv", encoding="cp1252")
        assert table["note"].tolist() == ["patient\u2019s"]
        assert "encoding" not in table.attrs
    with pytest.raises(ValueError, match="set `--encoding`, such as cp1252"):
        read_any_table(tmp_path / "bad.csv")
