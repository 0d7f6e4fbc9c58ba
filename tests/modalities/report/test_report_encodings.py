"""Reports in other encodings than UTF-8: the text that was written, or a refusal that names the setting."""

# ruff: noqa: RUF001 - letters of other alphabets are intended

import codecs
from pathlib import Path

import pytest

from polyclinic.modality import Identity, UnreadableSource
from polyclinic_report import Report

GERMAN = "BEFUND: Kein Nachweis eines Pleuraergusses. Herz normal groß, Ödem.\nBEURTEILUNG: Unauffällig."
FRENCH = "Pas d’épanchement pleural. Les poumons sont clairs à droite, régression du foyer après traitement."
SPANISH = "Radiografía de tórax: sin derrame pleural en el año actual. Conclusión: sin hallazgos patológicos."
POLISH = "Płuca bez zmian ogniskowych. Nie stwierdza się płynu w jamach opłucnej. Badanie prawidłowe."
RUSSIAN = "Лёгкие без очаговых изменений. Выпота нет. Заключение: норма."
GREEK = "Πνεύμονες καθαροί. Δεν παρατηρείται πλευριτική συλλογή. Συμπέρασμα: φυσιολογική εξέταση."
CHINESE = "两肺纹理清晰，未见胸腔积液。印象：正常。"
TAIWANESE = "兩側肺野清晰，未見肋膜積液。心臟大小正常。"
KOREAN = "양쪽 폐는 깨끗합니다. 흉수는 없습니다. 심장 크기는 정상입니다."
JAPANESE = "両肺野に異常陰影を認めません。心拡大なし。胸水なし。"
HEBREW = "הריאות נקיות. הלב בגודל תקין. אין תפליט פלאורלי. בדיקה תקינה ללא ממצאים."
ENCODED_TEXTS = [
    *((GERMAN, encoding) for encoding in ("cp1252", "cp1250", "cp850", "cp437", "mac-roman")),
    *((FRENCH, encoding) for encoding in ("cp1252", "mac-roman")),
    *((SPANISH, encoding) for encoding in ("cp1252", "cp850", "mac-roman")),
    *((POLISH, encoding) for encoding in ("cp1250", "iso8859-2", "cp852")),
    *((RUSSIAN, encoding) for encoding in ("cp1251", "koi8-r", "iso8859-5", "cp866", "mac-cyrillic")),
    *((GREEK, encoding) for encoding in ("cp1253", "iso8859-7")),
    (HEBREW, "cp1255"),
    (CHINESE, "gb18030"),
    (TAIWANESE, "big5"),
    (KOREAN, "cp949"),
    *((JAPANESE, encoding) for encoding in ("euc-jp", "cp932", "iso2022-jp")),
]
UNDETECTABLE = ("cp850", "cp852", "cp437", "mac-roman", "iso2022-jp", "cp932")


def write_report(folder: Path, content: bytes) -> Path:
    (folder / "doe_john.txt").write_bytes(content)
    return folder / "doe_john.txt"


@pytest.mark.public_report(18)
@pytest.mark.parametrize(("text", "encoding"), ENCODED_TEXTS)
def test_code_pages_are_detected_or_refused_until_set(tmp_path: Path, text: str, encoding: str) -> None:
    written = text if encoding in ("cp1252", "cp1250") else text.replace("’", "'")
    path = write_report(tmp_path, written.encode(encoding, "replace"))
    if encoding in UNDETECTABLE:
        with pytest.raises(UnreadableSource, match="set `encoding`") as refusal:
            Report().read(path)
        assert "doe_john" not in str(refusal.value)
    else:
        assert Report().read(path).text == written
    assert Report(encoding=encoding).read(path).text == written  # type: ignore[arg-type]


@pytest.mark.public_report(18)
def test_a_detected_encoding_is_reported_but_a_configured_one_is_not(tmp_path: Path) -> None:
    path = write_report(tmp_path, RUSSIAN.encode("koi8-r"))
    (entry,) = Report().issues(path, Report().read(path))
    assert (entry.severity, entry.code) == ("note", "detected-encoding")
    assert entry.message.startswith("the file is not UTF-8 and was detected as koi8-r; set `encoding`")
    report = Report(encoding="koi8-r")
    assert list(report.issues(path, report.read(path))) == []
    cleaned = report.deidentify(path, tmp_path / "out", Identity(key=b"k" * 32, patient="1", names=()), suspects=False)
    assert isinstance(cleaned.source, Path)
    assert cleaned.source.read_text(encoding="utf-8") == RUSSIAN


@pytest.mark.parametrize(
    "text", ["Unauffällig", "Größe 5 µm", "no œdema seen", "The patient’s chest is clear – no change"]
)
def test_short_western_text_is_read(tmp_path: Path, text: str) -> None:
    document = Report().read(write_report(tmp_path, text.encode("cp1252")))
    assert (document.text, document.facts["encoding"]) == (text, "cp1252")


@pytest.mark.parametrize(
    "content",
    [
        "œdema".encode("cp1252"),
        "à droite".encode("mac-roman"),
        "α-blocker".encode("cp1253"),
        "正常".encode("gb18030"),
        "Kalp boyutları normal sınırlarda".encode("cp857"),
        "ΦΥΣΙΟΛΟΓΙΚΗ".encode("cp1253"),
        "выпота нет".encode("cp1251")[:4],
        bytes(range(128, 256)),
    ],
)
def test_text_that_fits_several_encodings_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableSource, match="set `encoding`"):
        Report().read(write_report(tmp_path, content))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_states_the_encoding(tmp_path: Path, encoding: str) -> None:
    for plugin in (Report(), Report(encoding="cp1251")):
        document = plugin.read(write_report(tmp_path, RUSSIAN.encode(encoding)))
        assert (document.text, document.facts["encoding"]) == (RUSSIAN, encoding.removesuffix("-sig"))


def test_utf_8_is_read_with_any_configured_encoding(tmp_path: Path) -> None:
    document = Report(encoding="cp1252").read(write_report(tmp_path, GERMAN.encode()))
    assert (document.text, document.facts["encoding"]) == (GERMAN, "utf-8")
    with pytest.raises(UnreadableSource, match="not cp1252 text"):
        Report(encoding="cp1252").read(write_report(tmp_path, b"clear \x81"))
    with pytest.raises(UnreadableSource, match="not utf-16 text"):
        Report().read(write_report(tmp_path, codecs.BOM_UTF16_LE + b"a\0b"))


def test_the_declared_encoding_of_a_document_is_used(tmp_path: Path) -> None:
    page = f'<html><head><meta charset="windows-1250"></head><body>{POLISH}</body></html>'
    assert Report().read(write_report(tmp_path, page.encode("cp1250"))).text == POLISH
    cda = (
        f'<?xml version="1.0" encoding="ISO-8859-5"?><ClinicalDocument xmlns="urn:hl7-org:v3"><section><text>{RUSSIAN}'
    )
    content = f"{cda}</text></section></ClinicalDocument>".encode("iso8859-5")
    assert Report(encoding="koi8-r").read(write_report(tmp_path, content)).text == RUSSIAN
