"""Exports of ECG carts that are cut off, lie about their samples or attack their reader are refused in one sentence."""

import base64
import binascii
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks.cart_files import FIRST, LAST, NUMBER, WRITERS
from ecgdatakit.exceptions import CorruptedFileError
from ecgdatakit.parsing.parsers.ge_muse_xml import GEMuseXMLParser
from ecgdatakit.parsing.parsers.hl7_aecg import HL7aECGParser
from ecgdatakit.parsing.parsers.mortara_el250 import MortaraEL250Parser
from ecgdatakit.parsing.parsers.sierra_xml import SierraXMLParser

from polyclinic.modality import UnreadableSource
from polyclinic.modality.physiology import Patient
from polyclinic_ecg import ECG
from polyclinic_ecg.heart import RATE, draw_heart
from polyclinic_ecg.reading import cart_warnings

RNG = np.random.default_rng(0)
SIGNAL = draw_heart(Patient(RNG).visit(RNG), RNG)
CONTENTS: dict[str, bytes] = {}
XML = {
    "ge-muse-xml": ("RestingECG", GEMuseXMLParser),
    "hl7-aecg": ("AnnotatedECG", HL7aECGParser),
    "philips-sierra-xml": ("restingecgdata", SierraXMLParser),
    "mortara-xml": ("ECG", MortaraEL250Parser),
}
MAX_SECONDS = 5.0


def content_of(name: str, folder: Path) -> bytes:
    if name not in CONTENTS:
        WRITERS[name][0](folder / "original", SIGNAL, RATE)
        CONTENTS[name] = next(file for file in folder.iterdir() if file.stem == "original").read_bytes()
    return CONTENTS[name]


def reason(content: bytes, folder: Path) -> str:
    """Return the sentence with which a file is refused, which holds nothing of the file and is not long in coming."""
    source, started = folder / "study.bin", time.monotonic()
    source.write_bytes(content)
    with pytest.raises(UnreadableSource) as caught:
        ECG().read(source)
    assert time.monotonic() - started < MAX_SECONDS
    assert not any(text in str(caught.value) for text in (FIRST, LAST, NUMBER, "study", "MemoryError"))
    return str(caught.value)


def resealed(content: bytes) -> bytes:
    """Write the checksums of an SCP-ECG file again."""
    changed = bytearray(content)
    for place in range(22, 22 + 120, 10):
        _, length, index = struct.unpack_from("<HII", changed, place)
        if index:
            section = changed[index - 1 : index - 1 + length]
            changed[index - 1 : index + 1] = struct.pack("<H", binascii.crc_hqx(bytes(section[2:]), 0xFFFF))
    changed[:2] = struct.pack("<H", binascii.crc_hqx(bytes(changed[2:]), 0xFFFF))
    return bytes(changed)


def test_resealing_an_intact_file_changes_nothing(tmp_path: Path) -> None:
    content = content_of("scp-ecg", tmp_path)
    assert resealed(content) == content


@pytest.mark.parametrize("name", WRITERS)
def test_empty_files_are_refused(name: str, tmp_path: Path) -> None:
    content = content_of(name, tmp_path)
    reason(b"", tmp_path)
    reason(content[:1], tmp_path)
    reason(bytes(len(content)), tmp_path)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("name", WRITERS)
def test_files_that_are_cut_off_are_refused(name: str, share: float, tmp_path: Path) -> None:
    content = content_of(name, tmp_path)
    place = int(len(content) * share)
    if name == "csv":
        place = content.rindex(b",", 0, place + 60) + 1  # within a row: a table does not state its length
    reason(content[:place], tmp_path)


CHANGES = [
    ("ge-muse-xml", b"<SampleBase>500<", b"<SampleBase>0<", "not as its format says"),
    ("ge-muse-xml", b"<SampleBase>500<", b"<SampleBase>20<", "sampling rate of 20 Hz"),
    ("ge-muse-xml", b"<SampleBase>500<", b"<SampleBase>nan<", "not as its format says"),
    ("ge-muse-xml", b"<SampleExponent>0<", b"<SampleExponent>900<", "not as its format says"),
    ("ge-muse-xml", b">MICROVOLTS<", b">FURLONGS<", "contradicts itself about its samples"),
    ("ge-muse-xml", b">4.88<", b"><", "without a known unit and scale"),
    ("ge-muse-xml", b">4.88<", b">4.88e9<", "of more than 10,000 mV"),
    ("ge-muse-xml", b">4.88<", b">nan<", "without a known unit and scale"),
    ("ge-muse-xml", b"<FirstSampleBaseline>0<", b"<FirstSampleBaseline>7<", "contradicts itself"),
    ("ge-muse-xml", b"<LeadDataCRC32>", b"<LeadDataCRC32>1", "checksum does not match"),
    ("hl7-aecg", b'value="0.002" unit="s"', b'value="0" unit="s"', "not as its format says"),
    ("hl7-aecg", b'value="0.002" unit="s"', b'value="0.002" unit="fortnight"', "not as its format says"),
    ("hl7-aecg", b'<scale value="2.5" unit="uV"/>', b'<scale value="2.5" unit="mmHg"/>', "known unit and scale"),
    ("hl7-aecg", b'<scale value="2.5" unit="uV"/>', b'<scale value="x" unit="uV"/>', "known unit and scale"),
    ("hl7-aecg", b'<scale value="2.5" unit="uV"/>', b"", "known unit and scale"),
    ("hl7-aecg", b"<digits>", b"<digits>twelve ", "not as its format says"),
    ("philips-sierra-xml", b'samplespersecond="500"', b'samplespersecond="0"', "is not a positive number"),
    ("philips-sierra-xml", b' resolution="5"', b' resolution="five"', "is not a positive number"),
    ("philips-sierra-xml", b'samplespersecond="500"', b'samplespersecond="20"', "sampling rate of 20 Hz"),
    ("philips-sierra-xml", b'durationperchannel="10000"', b'durationperchannel="1e12"', "not as its format says"),
    ("philips-sierra-xml", b'dataencoding="Base64"', b'dataencoding="Base65"', "not as its format says"),
    ("philips-sierra-xml", b"allocated>12<", b"allocated>1000000000<", "another number of channels than 1 to 64"),
    ("philips-sierra-xml-compressed", b'"XLI"', b'"ZIP"', "not as its format says"),
    ("mortara-xml", b'SAMPLE_FREQ="500"', b'SAMPLE_FREQ="0"', "not as its format says"),
    ("mortara-xml", b'UNITS_PER_MV="400"', b"", "known unit and scale"),
    ("mortara-xml", b'BITS="16"', b'BITS="12"', "not as its format says"),
    ("mortara-xml", b'OFFSET="0"', b'OFFSET="9"', "contradicts itself"),
    ("mfer", b"\x06\x01\x01", b"\x06\x04\xff\xff\xff\x7f", "contradicts itself"),
    ("mfer", b"\x06\x01\x01", b"\x06\x00\x04\x04\xff\xff\xff\x7f", "not as its format says"),
    ("mfer", b"\x0c\x04\0", b"\x0c\x04\1", "known unit and scale"),
    ("mfer", b"\x0b\x04\0", b"\x0b\x04\2", "not as its format says"),
    ("edf", b"mV      " * 8, b"mmHg    " * 8, "lead in another unit than mV, uV and V"),
    ("edf", b"mV      " * 8, b"        " * 8, "known unit and scale"),
    ("edf", b"32767   " * 8, b"-32768  " * 8, "contradicts itself"),
]


@pytest.mark.parametrize(("name", "old", "new", "expected"), CHANGES)
def test_wrong_numbers_and_unknown_units_are_refused(
    name: str, old: bytes, new: bytes, expected: str, tmp_path: Path
) -> None:
    content = content_of(name, tmp_path)
    assert old in content
    assert expected in reason(content.replace(old, new), tmp_path)


PATCHES = [
    ("edf", 236, b"99999999", "of 99999999 data records"),
    ("edf", 236, b"-1      ", "of -1 data records"),
    ("edf", 236, b"many    ", "neither a WFDB record, DICOM"),
    ("edf", 236, b"9       ", "contradicts itself"),
    ("edf", 236, b"11      ", "contradicts itself"),
    ("edf", 244, b"0       ", "not as its format says"),
    ("edf", 244, b"inf     ", "not as its format says"),
    ("edf", 252, b"9999", "not as its format says"),
    ("ishne", 272, b"\0\0", "not as its format says"),
    ("ishne", 206, b"\0\0", "known unit and scale"),
    ("ishne", 14, b"\xff\xff\xff\x7f", "its header declares 2147483647"),
    ("ishne", 10, b"\xff\xff\xff\xff", "samples in all"),
    ("ishne", 156, b"\xff\x7f", "samples in all"),
    ("mfer", 34, b"\x05\x04\xff\xff\xff\x7f", "more than 64 channels"),
]


@pytest.mark.parametrize(("name", "place", "new", "expected"), PATCHES)
def test_absurd_declarations_are_refused(name: str, place: int, new: bytes, expected: str, tmp_path: Path) -> None:
    content = bytearray(content_of(name, tmp_path))
    if name == "ishne":
        content[8:10] = b"\0\0"  # no checksum, so that the declaration itself is looked at
    content[place : place if name == "mfer" else place + len(new)] = new
    assert expected in reason(bytes(content), tmp_path)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [(b"\x0b\x04\0\0\xf4\x01", "contradicts itself"), (b"\x0c\x04\0\xf8\x7d\0", "known unit and scale")],
)
def test_mfer_without_rate_or_scale_is_refused(tag: bytes, expected: str, tmp_path: Path) -> None:
    content = content_of("mfer", tmp_path)
    assert content.count(tag) == 1
    assert expected in reason(content.replace(tag, b""), tmp_path)


def section(content: bytes, number: int) -> int:
    """Return the place of the body of a section of SCP-ECG."""
    return int(struct.unpack_from("<I", content, 22 + 10 * number + 6)[0]) - 1 + 16


@pytest.mark.parametrize(
    ("number", "offset", "new", "expected"),
    [
        (6, 0, struct.pack("<H", 0), "contradicts itself"),
        (6, 2, struct.pack("<H", 0), "not as its format says"),
        (6, 2, struct.pack("<H", 60_000), "sampling rate of 16.6667 Hz"),
        (6, 4, b"\7", "not as its format says"),
        (3, 2, struct.pack("<II", 1, 2**32 - 1), "expected at most 1,000,000"),
        (3, 0, b"\xff", "in 255 leads; expected"),
        (3, 0, b"\x09", "not as its format says"),
        (3, 2, struct.pack("<II", 5001, 10_000), "start at different times"),
    ],
)
def test_scp_with_right_checksums_and_wrong_numbers_is_refused(
    number: int, offset: int, new: bytes, expected: str, tmp_path: Path
) -> None:
    content = bytearray(content_of("scp-ecg", tmp_path))
    place = section(content, number) + offset
    content[place : place + len(new)] = new
    assert "checksum does not match" in reason(bytes(content), tmp_path) or expected != "start at different times"
    assert expected in reason(resealed(bytes(content)), tmp_path)


ENTITIES = {
    "expanding": "<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>",
    "external": "<!ENTITY b SYSTEM 'file:///etc/hostname'>",
    "parameter": "<!ENTITY % b SYSTEM 'file:///etc/hostname'> %b;",
    "notation": "<!NOTATION b SYSTEM 'file:///etc/hostname'>",
}


def with_entities(name: str, kind: str, folder: Path, encoding: str) -> bytes:
    text = content_of(name, folder).decode("latin-1")
    root = XML[name][0]
    _, _, rest = text.partition(f"<{root}")
    use = "" if kind in ("parameter", "notation") else "<note>&b;</note>"
    begin, _, end = rest.partition(">")
    text = f"<?xml version='1.0' encoding='{encoding}'?><!DOCTYPE {root} [{ENTITIES[kind]}]><{root}{begin}>{use}{end}"
    return text.encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", ENTITIES)
@pytest.mark.parametrize("name", XML)
def test_entities_in_xml_are_refused(name: str, kind: str, encoding: str, tmp_path: Path) -> None:
    assert "declares entities" in reason(with_entities(name, kind, tmp_path, encoding), tmp_path)


@pytest.mark.parametrize("kind", ["expanding", "external", "parameter"])
@pytest.mark.parametrize("name", XML)
def test_the_parsers_of_the_library_refuse_entities_as_well(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(with_entities(name, kind, tmp_path, "utf-8"))
    with pytest.raises(CorruptedFileError, match="entity declarations are not allowed"):
        XML[name][1]().parse(tmp_path / "a.xml")


def filled(name: str, filling: str, folder: Path) -> bytes:
    end = f"</{XML[name][0]}>".encode()
    return content_of(name, folder).replace(end, filling.encode() + end)


@pytest.mark.parametrize("filling", ["<a/>" * 300_000, f"<a {'b= ' * 1_100_000}/>"])
@pytest.mark.parametrize("name", XML)
def test_xml_of_very_many_elements_or_attributes_is_refused(name: str, filling: str, tmp_path: Path) -> None:
    assert "more than 200,000 tags or 1,000,000 attributes" in reason(filled(name, filling, tmp_path), tmp_path)


@pytest.mark.parametrize("name", [name for name in XML if name != "philips-sierra-xml"])
def test_deep_elements_besides_the_leads_do_no_harm(name: str, tmp_path: Path) -> None:
    (tmp_path / "deep.xml").write_bytes(filled(name, "<a>" * 90_000 + "</a>" * 90_000, tmp_path))
    assert ECG().read(tmp_path / "deep.xml").facts["leads"] == 12.0


def test_elements_too_deep_for_a_recursive_reader_are_refused(tmp_path: Path) -> None:
    content = filled("philips-sierra-xml", "<a>" * 90_000 + "</a>" * 90_000, tmp_path)
    assert "RecursionError" in reason(content, tmp_path)


def test_compressed_leads_that_inflate_to_gigabytes_are_refused(tmp_path: Path) -> None:
    growing = [65, *range(256, 1023)]  # each code stands for one byte more than the code before
    bits = "".join(format(code, "010b") for code in growing + [1022] * 20_000)
    body = int(bits + "0" * (-len(bits) % 8), 2).to_bytes((len(bits) + 7) // 8, "big")
    samples = base64.b64encode(struct.pack("<ihh", len(body), 0, 0) + body)
    content = content_of("philips-sierra-xml-compressed", tmp_path)
    head, _, rest = content.partition(b'compressflag="True">')
    bomb = head + b'compressflag="True">' + samples + rest[rest.index(b"</parsedwaveforms>") :]
    assert "more than 1,000,000 compressed samples" in reason(bomb, tmp_path)


def test_a_warning_that_nobody_has_judged_is_a_refusal() -> None:
    class Doubt:
        category, message = UserWarning, "a later version of the library has a new doubt"

    with pytest.raises(UnreadableSource, match="contradicts itself"):
        cart_warnings.refuse_doubtful([Doubt()], "EDF")  # type: ignore[list-item]
