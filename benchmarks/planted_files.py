"""Plant a person in every field of a file of each format, without changing what the plugins read."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pydicom
import soundfile
from PIL import Image
from pydicom.dataset import Dataset

from benchmarks.cart_files import FIRST, LAST, NUMBER, PHYSICIAN, STATEMENT
from benchmarks.dicom_elements import Place, places, plant
from benchmarks.people import Person

SHARDS = 10
"""Number of shards of the standard's elements; each person is planted in one, as a file of all takes seconds."""


def plant_dicom(base: bytes, person: Person, number: int) -> bytes:
    """Plant in standard and private elements, overlay, curve, icon, preamble, file meta information and after the end.

    Args:
        base: content of a file.
        person: person to plant.
        number: index of the person, which selects the tenth of the elements to plant in.
    """
    dataset = pydicom.dcmread(io.BytesIO(base))
    plant(dataset, lambda place: _element(place, person), islice(places(), number % SHARDS, None, SHARDS))
    dataset.PatientName, dataset.PatientID = f"{person.family}^{person.given}", person.number
    dataset.PatientBirthDate, dataset.PatientAddress = f"{person.birth:%Y%m%d}", person.street
    dataset.PatientTelephoneNumbers, dataset.StudyDate = person.phone.replace(" ", ""), "20230105"
    dataset.private_block(0x0043, person.name, create=True).add_new(1, "LT", person.line)
    dataset.add_new(0x60003000, "OW", _even(person.line))
    dataset.add_new(0x50000030, "SH", person.family)
    dataset.add_new(0xFFFCFFFC, "OB", _even(person.line))
    dataset.IconImageSequence = [_item(person)]
    for group in dataset.get("WaveformSequence", []):
        group.MultiplexGroupLabel = person.family
        group.WaveformAnnotationSequence = [_item(person)]
        for channel in group.ChannelDefinitionSequence:
            channel.ChannelLabel, channel.ChannelStatus = person.family, person.family.upper()
            channel.ChannelSourceSequence[0].CodeMeaning = person.name
            channel.ChannelSourceSequence[0].CodingSchemeVersion = person.family
        group.WaveformData = group.WaveformData + _even(person.line)
    meta = dataset.file_meta
    meta.SourceApplicationEntityTitle = meta.ImplementationVersionName = person.family[:16]
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = f"1.2.{person.number}", _even(person.line)
    dataset.preamble = person.line.encode()[:128].ljust(128)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=False)
    return (
        stream.getvalue() + b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", len(_even(person.line))) + _even(person.line)
    )


def _element(place: Place, person: Person) -> Any:
    text = person.texts[place.tag % len(person.texts)]
    if place.vr in ("OB", "OW", "UN", "OV", "OD", "OF", "OL"):
        return person.line.encode().ljust(-(-len(person.line) // 8) * 8)
    return {
        **{
            "PN": f"{person.family}^{person.given}",
            "LO": text[:64],
            "SH": person.family[:16],
            "AE": person.family[:16],
        },
        **{
            "CS": person.family.upper()[:16],
            "ST": person.line,
            "LT": person.line,
            "UT": person.line,
            "UC": person.line,
        },
        **{"DA": f"{person.birth:%Y%m%d}", "DT": f"{person.birth:%Y%m%d}120000", "UR": f"mailto:{person.email}"},
        **{"IS": f"{person.birth:%Y%m%d}", "DS": person.number, "UI": f"1.2.840.10008.{person.number}"},
        "SQ": [_item(person)],
    }.get(place.vr)


@cache
def _item(person: Person) -> Dataset:
    item = Dataset()
    item.PatientName, item.CodeMeaning, item.TextValue = f"{person.family}^{person.given}", person.name, person.line
    item.CodeValue, item.CodingSchemeDesignator, item.StudyDate = person.family, "SCT", f"{person.birth:%Y%m%d}"
    item.private_block(0x0043, person.name, create=True).add_new(1, "LT", person.line)
    return item


def _even(text: str) -> bytes:
    return text.encode() + b" " * (len(text.encode()) % 2)


def plant_png(base: bytes, person: Person, number: int) -> bytes:
    """Plant in chunks of text, EXIF, XMP, a colour profile, a private chunk and after the end."""
    line = person.line.encode()
    chunks = [
        _chunk(b"iCCP", b"profile of " + person.family.encode() + b"\0\0" + zlib.compress(line * 20)),
        _chunk(b"tEXt", b"Patient\0" + line),
        _chunk(b"tEXt", b"Author\0" + person.name.encode()),
        _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(line)),
        _chunk(b"iTXt", b"Title\0\1\0en\0\0" + zlib.compress(line)),
        _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _xmp(person)),
        _chunk(b"eXIf", _exif(person)[6:]),
        _chunk(b"prVt", line),
    ]
    return base[:33] + b"".join(chunks) + base[33:] + line


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _exif(person: Person) -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x9286], exif[0x9C9B] = person.line, person.name, person.line, person.name
    exif.get_ifd(0x8825)[29] = f"{person.birth:%Y:%m:%d}"
    return exif.tobytes()


def _xmp(person: Person) -> bytes:
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><p>{person.line}</p></x:xmpmeta>".encode()


def plant_jpeg(base: bytes, person: Person, number: int) -> bytes:
    """Plant in EXIF, XMP, a comment, other application segments and after the end."""
    line = person.line.encode()
    segments = [
        (0xE1, _exif(person)),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _xmp(person)),
        (0xE2, b"ICC_PROFILE\0\1\1" + line),
        (0xED, b"Photoshop 3.0\08BIM" + line),
        (0xFE, line),
        (0xFE, person.name.encode("utf-16-le")),
    ]
    planted_segments = b"".join(struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data for kind, data in segments)
    return base[:2] + planted_segments + base[2:] + line


def plant_wav(base: bytes, person: Person, number: int) -> bytes:
    """Plant in chunks before and after the samples, and after the end of the file."""
    line = person.line.encode()
    info = b"INFO" + b"".join(_riff(name, line) for name in (b"INAM", b"IART", b"ICMT", b"IGNR"))
    labels = b"adtl" + _riff(b"labl", b"\1\0\0\0" + line)
    behind = [(b"bext", line.ljust(700)), (b"iXML", _xmp(person)), (b"id3 ", _id3(person)), (b"LIST", labels)]
    content = base[12:] + b"".join(_riff(*chunk) for chunk in [*behind, (b"zQzQ", line)])
    content = b"WAVE" + _riff(b"LIST", info) + _riff(b"junk", line) + content
    return b"RIFF" + struct.pack("<I", len(content)) + content + line


def _riff(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _id3(person: Person) -> bytes:
    """Return an ID3 tag of version 2.3 with a title, an artist in UTF-16, a comment and a private frame."""
    frames = [
        (b"TIT2", b"\0" + person.line.encode("latin-1")),
        (b"TPE1", b"\1" + person.name.encode("utf-16")),
        (b"COMM", b"\0eng\0" + person.line.encode("latin-1")),
        (b"PRIV", b"owner\0" + person.line.encode()),
    ]
    content = b"".join(name + struct.pack(">IH", len(data), 0) + data for name, data in frames)
    size = bytes(len(content) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + content


def plant_flac(base: bytes, person: Person, number: int) -> bytes:
    """Plant in comments, a picture, application data and padding, each a metadata block (RFC 9639)."""
    line = person.line.encode()
    comment = struct.pack("<I", 4) + b"none" + struct.pack("<I", 2)
    for entry in (b"ARTIST=" + person.name.encode(), b"DESCRIPTION=" + line):
        comment += struct.pack("<I", len(entry)) + entry
    picture = struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">I", len(line)) + line
    picture += struct.pack(">5I", 1, 1, 24, 0, len(line)) + line
    blocks = [(4, comment), (6, picture), (2, b"zQzQ" + line), (1, line)]
    info, place, last = base[8:42], 4, False
    while not last:
        last = bool(base[place] & 0x80)
        place += 4 + int.from_bytes(base[place + 1 : place + 4], "big")
    metadata = b"".join(
        bytes([kind | 0x80 * (index == len(blocks) - 1)]) + len(data).to_bytes(3, "big") + data
        for index, (kind, data) in enumerate(blocks)
    )
    return b"fLaC" + b"\0" + (34).to_bytes(3, "big") + info + metadata + base[place:]


def plant_mp3(base: bytes, person: Person, number: int) -> bytes:
    """Plant in an ID3 tag before the sound, and in APE and ID3 version 1 tags after it.

    The tags after the sound are short, because longer ones make mpg123 print a warning.
    """
    message = f"{person.name} {person.number}".encode()
    item = struct.pack("<II", len(message), 0) + b"Comment\0" + message
    ape = b"APETAGEX" + struct.pack("<4I", 2000, len(item) + 32, 1, 0) + b"\0" * 8
    last = b"TAG" + person.name.encode()[:30].ljust(30) + person.family.encode()[:30].ljust(30)
    return _id3(person) + base + item + ape + last.ljust(128)


def plant_ogg(base: bytes, person: Person, number: int) -> bytes:
    """Plant in the comments of a Vorbis stream, which is encoded again because its pages have checksums."""
    samples, rate = soundfile.read(io.BytesIO(base))
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", rate, 1, "VORBIS", format="OGG") as file:
        file.title = file.comment = file.album = person.line
        file.artist = person.name
        file.write(samples)
    return stream.getvalue()


def plant_text(base: bytes, person: Person, number: int) -> bytes:
    """Plant in labelled lines at the start, and in running text at the end."""
    head = (
        f"Patient name: {person.name}\nDOB: {person.birth:%Y-%m-%d}\nMRN: {person.number}\nAddress: {person.street}\n"
        f"Phone: {person.phone}\nE-mail: {person.email}\n\n"
    )
    body = (
        f"\n{person.name} was seen. {person.family.upper()}, {person.given.upper()} called from {person.phone}, "
        f"{person.email}. Born on {person.birth:%d.%m.%Y}. MRN {person.number}. Lives at {person.street}.\n"
    )
    return head.encode() + base + body.encode()


def plant_rows(base: bytes, person: Person, number: int) -> bytes:
    """Plant in names, values and units of rows that are not configured, and plant a number as a measured value."""
    rows = base.decode().splitlines()
    name, _, unit = rows[1].split(",")
    rows[1] = f"{name},{person.number},{unit}"
    rows += [f'patient_name,"{person.family}, {person.given}",', f"mrn,{person.number},", f"phone,{person.phone},"]
    rows += [f"{person.line.replace(',', '')},1,{person.family}", f"dob,{person.birth:%Y-%m-%d},{person.email}"]
    return "\n".join(rows).encode()


def plant_row(base: bytes, person: Person, number: int) -> bytes:
    """Plant in the names and cells of columns that are not configured, in a table of a header and one row."""
    pairs = [row.split(",")[:2] for row in base.decode().splitlines()[1:]]
    pairs += [["patient_name", person.name], ["mrn", person.number], [person.line.replace(",", ""), person.email]]
    return "\n".join(",".join(cells) for cells in zip(*pairs, strict=True)).encode()


def plant_record(folder: Path, base: Path, person: Person) -> Path:
    """Write a WFDB record with a person in names of records and files, comments, dates, descriptions and units.

    Args:
        folder: output folder.
        base: header of a record, or of one with several segments, in another folder.
        person: person to plant.
    """
    name = f"{person.family}_{person.given}"
    for source in sorted(base.parent.glob(f"{base.stem}*")):
        target = folder / source.name.replace(base.stem, name)
        if source.suffix == ".dat":
            target.write_bytes(source.read_bytes() + person.line.encode())
            continue
        lines = [line.replace(base.stem, name) for line in source.read_text().splitlines() if not line.startswith("#")]
        lines[0] += f" 10:15:00 {person.birth:%d/%m/%Y}"
        if re.match(r"\S+/\d", lines[0]):
            lines[0] = re.sub(r"^(\S+) (\d+)", lambda match: f"{match[1]} {int(match[2]) + 1}", lines[0])
        else:
            lines = _another_signal(lines, target.with_name(f"{target.stem}_{person.street_name}.dat"), person)
        comments = [f"# Name: {person.name}", f"# {person.line}", f"#{person.family} of the ward"]
        target.write_text("\n".join([*lines, *comments]) + "\n", encoding="utf-8")
    return folder / f"{name}.hea"


def _another_signal(lines: list[str], file: Path, person: Person) -> list[str]:
    """Add a signal that is not a lead, with the person in its description, its unit and its unused numbers."""
    record = lines[0].split()
    count, length = int(record[1]), int(record[3])
    values = np.arange(length, dtype="<i2")
    file.write_bytes(values.tobytes() + person.line.encode())
    record[1] = str(count + 1)
    total = int(values.sum(dtype=np.int64)) % 65536
    numbers = f"16 {person.birth:%Y%m%d} {person.number} {total} {person.number}"
    described = f"{file.name} 16 200(0)/{person.family} {numbers} {person.line}"
    return [" ".join(record), *lines[1:], described]


def plant_cart(base: bytes, person: Person, number: int) -> bytes:
    """Plant in the names, numbers and statements of an XML export of a cart, and in tags that no reader knows."""
    text = base.decode("latin-1")
    names = {LAST: person.family, FIRST: person.given, NUMBER: person.number, PHYSICIAN: person.family}
    for old, new in {**names, STATEMENT: f"{STATEMENT} of {person.line}"}.items():
        text = text.replace(old, escape(new))
    place = text.rindex("</")
    note = f"<note phone={quoteattr(person.phone)}>{escape(person.line)} {escape(person.email)}</note>"
    return (text[:place] + note + text[place:]).encode("latin-1")


PLANTERS: dict[str, Callable[[bytes, Person, int], bytes]] = {
    "xray-dicom": plant_dicom,
    "xray-dicom-jpegls": plant_dicom,
    "xray-png": plant_png,
    "xray-png16": plant_png,
    "xray-jpeg": plant_jpeg,
    "ecg-dicom": plant_dicom,
    "ecg-ge-muse-xml": plant_cart,
    "ecg-hl7-aecg": plant_cart,
    "audio-wav": plant_wav,
    "audio-flac": plant_flac,
    "audio-ogg": plant_ogg,
    "audio-mp3": plant_mp3,
    "report-txt": plant_text,
    "tabular-csv": plant_rows,
    "tabular-csv-wide": plant_row,
}
"""Functions by format, except for WFDB records, whose several files ``plant_record`` writes."""
