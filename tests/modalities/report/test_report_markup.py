"""Reports in RTF, HTML, CDA and HL7 v2 become their words; other documents are refused by name."""

import contextlib
import gzip
import io
import zipfile
from pathlib import Path

import pytest

from polyclinic.modality import UnreadableSource
from polyclinic_report import Report

TEXT = "FINDINGS: The lungs are clear.\nNo pleural effusion < 3 mm.\nIMPRESSION: Unauffällig."
RTF = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}{\info{\author DOE JANE}{\operator SMITH}}"
    r"\pard\f0\fs20\b FINDINGS:\b0  The lungs are clear.\par No pleural effusion < 3 mm.\par "
    r"\b IMPRESSION:\b0  Unauff\'e4llig.\par}"
)
HTML = (
    "<!DOCTYPE html>\n<html><head><title>DOE JANE</title><style>p{font:10pt Arial}</style></head><body>"
    "<!-- SMITH --><p class='x'>FINDINGS: The\n lungs are&nbsp;clear.<br>No pleural effusion &lt; 3 mm.</p>"
    "<script>if (1 < 2) {}</script><p>IMPRESSION: Unauff&auml;llig.</p></body></html>"
)
HL7 = (
    "MSH|^~\\&|RIS|H|||20210304||ORU^R01|1|P|2.3\rPID|1||4711^^^H||DOE^JANE\r"
    "OBX|1|TX|71020&GDT||The lungs are clear.\\.br\\No pleural effusion < 3 mm.||||||F\r"
    "OBX|2|NM|8480-6||120|mmHg|||||F\rOBX|3|TX|71020&IMP||Unauffällig.||||||F\r"
)
CDA = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3"><recordTarget>DOE JANE'
    "</recordTarget><component><structuredBody><component><section><title>FINDINGS</title><text><paragraph>The lungs "
    "are <content>clear</content>.</paragraph><paragraph>No pleural effusion &lt; 3 mm.</paragraph></text></section>"
    "</component><component><section><title>IMPRESSION:</title><text>Unauffällig.</text></section></component>"
    "</structuredBody></component></ClinicalDocument>"
)


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("word/document.xml", "<w/>")
    return stream.getvalue()


@pytest.mark.public_report(19)
@pytest.mark.parametrize(("kind", "markup"), [("rtf", RTF), ("html", HTML), ("hl7", HL7), ("cda", CDA)])
def test_markup_is_reduced_to_the_text_of_the_report(tmp_path: Path, kind: str, markup: str) -> None:
    (tmp_path / "a.txt").write_bytes(markup.encode())
    for source in (tmp_path / "a.txt", markup, {"report": markup}):
        document = Report().read(source)
        assert document.text.split() == TEXT.split()
        assert document.facts["format"] == kind
        assert Report(section="impression").read(source).text == "Unauffällig."
        assert Report(section="findings").read(source).text.split() == TEXT.split()[1:-2]
        assert not any(name in document.text for name in ("DOE", "SMITH", "Arial"))


@pytest.mark.public_report(19)
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj", "PDF"),
        (b"\n%PDF-1.7 text", "PDF"),
        (gzip.compress(TEXT.encode()), "gzip"),
        (archive(), "zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "DOC"),
        (b"\0" * 128 + b"DICM", "DICOM"),
        (b'{"resourceType": "DiagnosticReport", "conclusion": "clear"}', "JSON"),
        (b"MIME-Version: 1.0\nContent-Type: text/plain\n\nclear", "e-mail"),
        (b'<?xml version="1.0"?><report>clear</report>', "XML that is not a CDA"),
        (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "document type or entities"),
        (CDA.encode()[:-40], "XML that cannot be parsed"),
        (CDA.encode().replace(b"section>", b"part>"), "without sections of text"),
        (RTF.encode()[:-4], "cut short"),
        (HL7.encode() * 2, "several HL7"),
        (HL7.replace("|TX|", "|ED|").encode(), "without text in OBX-5"),
        (HL7.replace("clear", "\\XE4\\").encode(), "characters given by their codes"),
    ],
)
def test_other_documents_are_refused_by_name(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / "doe.txt").write_bytes(content)
    with pytest.raises(UnreadableSource, match=name) as caught:
        Report().read(tmp_path / "doe.txt")
    assert "doe" not in str(caught.value).lower()


@pytest.mark.parametrize(
    "text",
    [
        "EF < 40 % and BNP > 300",
        "<NAME> was seen on <DATE>, <b 40, x<y>z",
        "{normal} [1] a & b &lt; c",
        "Patient <p> stable",
        "MSH is a hormone. MSH| is no segment",
        "The MIME-Version: was not seen",
        "see %PDF-1.4 and {\\rtf1}",
    ],
)
def test_plain_text_stays_as_it_is(text: str) -> None:
    document = Report().read(text)
    assert (document.text, document.facts["format"]) == (text, "plain")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lungs<br>clear, EF <40 %<br/>x\ny", "Lungs\nclear, EF <40 %\nx\ny"),
        ("<b>No</b> effusion\r\nHeart &amp; lungs", "No effusion\nHeart & lungs"),
        (r"{\rtf1\ansi\ansicpg1251 \'cb\'b8\'e3\'ea\'e8\'e5}", "Лёгкие"),
        (r"{\rtf1\ansi Gr\u246\'f6\u223\'dfe{\footer SMITH}}", "Größe"),
        ("MSH|^~\\&|a\nOBX|1|FT|1^x||A \\T\\ B \\H\\bold\\N\\~next||||||F\n", "A & B bold\nnext"),
        ("\vMSH|^~\\&|a\rOBX|1|ST|1||clear\r\x1c\r", "clear"),
    ],
)
def test_single_tags_code_pages_and_escapes_are_decoded(text: str, expected: str) -> None:
    assert Report().read(text).text == expected


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "text", ["<p>x</p>" + "<!--" * 200_000, "<!doctype html>" + '<p a="' * 150_000, r"{\rtf1 " + "{" * 300_000 + "}"]
)
def test_unclosed_markup_takes_linear_time(text: str) -> None:
    """Uses texts that take minutes with a parser that starts again at every tag."""
    with contextlib.suppress(UnreadableSource):
        Report().read(text)
