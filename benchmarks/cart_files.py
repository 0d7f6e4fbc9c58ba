"""Write the files of ECG carts from a known signal: headers of one patient, and samples in the steps of each format."""

import base64
import binascii
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import edfio
import numpy as np

from benchmarks.xli import xli_encode
from polyclinic_ecg.recording import LEADS

FIRST, LAST, NUMBER, PHYSICIAN = "Johanna", "Doeling", "MRN-470911", "Quincey"
STATEMENT = "Sinus rhythm with occasional premature beats"
INDEPENDENT = (0, 1, 6, 7, 8, 9, 10, 11)
"""Rows of the leads that most carts store."""

_STORED_16 = (-32767, 32767)


def steps(signal: np.ndarray, microvolts: float) -> np.ndarray:
    """Return the samples of leads in mV as integers of ``microvolts``."""
    return np.clip(np.round(signal * 1000 / microvolts), *_STORED_16).astype(np.int16)


def write_muse(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = INDEPENDENT) -> None:
    """Write GE MUSE XML with steps of 4.88 uV."""
    leads = "".join(
        f"<LeadData><LeadByteCountTotal>{2 * len(row)}</LeadByteCountTotal><LeadTimeOffset>0</LeadTimeOffset>"
        f"<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>"
        "<LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>"
        f"<LeadID>{LEADS[index]}</LeadID><FirstSampleBaseline>0</FirstSampleBaseline>"
        f"<LeadSampleSize>2</LeadSampleSize><LeadDataCRC32>{binascii.crc32(row.tobytes())}</LeadDataCRC32>"
        f"<WaveFormData>{base64.b64encode(row.tobytes()).decode()}</WaveFormData></LeadData>"
        for index, row in zip(rows, steps(signal, 4.88)[list(rows)], strict=True)
    )
    path.write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd"><RestingECG>'
        "<MuseInfo><MuseVersion>9.0</MuseVersion></MuseInfo>"
        f"<PatientDemographics><PatientID>{NUMBER}</PatientID><PatientLastName>{LAST}</PatientLastName>"
        f"<PatientFirstName>{FIRST}</PatientFirstName><DateofBirth>03-04-1950</DateofBirth></PatientDemographics>"
        f"<TestDemographics><ReferringMDLastName>{PHYSICIAN}</ReferringMDLastName></TestDemographics>"
        "<RestingECGMeasurements><VentricularRate>61</VentricularRate><PRInterval>160</PRInterval>"
        "<QRSDuration>90</QRSDuration><QTInterval>400</QTInterval><QTCorrected>410</QTCorrected><PAxis>40</PAxis>"
        "<RAxis>-12</RAxis><TAxis>33</TAxis></RestingECGMeasurements>"
        f"<Diagnosis><DiagnosisStatement><StmtFlag>ENDSLINE</StmtFlag><StmtText>{STATEMENT}</StmtText>"
        "</DiagnosisStatement></Diagnosis>"
        f"<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>{rate:g}</SampleBase>"
        f"<SampleExponent>0</SampleExponent>{leads}</Waveform></RestingECG>",
        encoding="latin-1",
    )


def write_aecg(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = range(12)) -> None:
    """Write HL7 aECG with steps of 2.5 uV and an origin of 10 uV."""
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{LEADS[index].upper()}" codeSystem="2.16.840.1.113883.6.24"/>'
        '<value xsi:type="SLIST_PQ"><origin value="10" unit="uV"/><scale value="2.5" unit="uV"/>'
        f"<digits>{' '.join(map(str, row))}</digits></value></sequence></component>"
        for index, row in zip(rows, steps(signal - 0.01, 2.5)[list(rows)], strict=True)
    )
    person = f"<name><family>{LAST}</family><given>{FIRST}</given></name>"
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><AnnotatedECG xmlns="urn:hl7-org:v3" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><id root="1.2.3"/>'
        "<componentOf><timepointEvent><componentOf><subjectAssignment><subject><trialSubject>"
        f'<id extension="{NUMBER}"/><subjectDemographicPerson>{person}<birthTime value="19500304"/>'
        "</subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf></timepointEvent>"
        '</componentOf><component><series><code code="RHYTHM"/><component><sequenceSet>'
        '<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS">'
        f'<head value="20240305101530"/><increment value="{1 / rate!r}" unit="s"/></value></sequence></component>'
        f"{sequences}</sequenceSet></component>"
        f"<subjectOf><annotationSet>{_aecg_annotations()}</annotationSet></subjectOf></series></component>"
        "</AnnotatedECG>",
        encoding="utf-8",
    )


def _aecg_annotations() -> str:
    numbers = {"TIME_PD_PR": (160, "ms"), "TIME_PD_QT": (400, "ms"), "ANGLE_QRS_FRONT": (-12, "deg")}
    numbers["HEART_RATE"] = (61, "bpm")
    entries = [f'<code code="MDC_ECG_{code}"/><value value="{n}" unit="{u}"/>' for code, (n, u) in numbers.items()]
    entries.append(f'<code code="MDC_ECG_INTERPRETATION_STATEMENT"/><value>{STATEMENT}</value>')
    return "".join(f"<component><annotation>{entry}</annotation></component>" for entry in entries)


def write_edf(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = INDEPENDENT) -> None:
    """Write EDF+ with edfio, in records of one second and steps of 0.15 uV."""
    signals = [
        edfio.EdfSignal(
            signal[index], sampling_frequency=rate, label=f"ECG {LEADS[index]}", physical_dimension="mV",
            physical_range=(-5, 5),
        )
        for index in rows
    ]  # fmt: skip
    patient = edfio.Patient(code=NUMBER, name=f"{FIRST}_{LAST}")
    recording = edfio.Recording(investigator_technician_code=PHYSICIAN)
    notes = [edfio.EdfAnnotation(0, None, STATEMENT)]
    edfio.Edf(signals, patient=patient, recording=recording, annotations=notes).write(path)


def write_ishne(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = range(12)) -> None:
    """Write an ISHNE Holter file (Badilini 1998) with steps of 1.5 uV and a comment."""
    stored, comment = steps(signal, 1.5)[list(rows)], f"{LAST} {STATEMENT}".encode("latin-1")
    padding = [0] * (12 - len(rows))
    codes = [index + 5 for index in rows]  # I is 5, V6 is 16
    header = struct.pack("<iiiih", len(comment), stored.shape[1], 522, 522 + len(comment), 1)
    header += struct.pack("<40s40s20s", FIRST.encode(), LAST.encode(), NUMBER.encode())
    header += struct.pack("<hh3h3h3h3h", 2, 0, 4, 3, 1950, 5, 3, 2024, 5, 3, 2024, 10, 15, 30)
    header += struct.pack(
        "<h12h12h12h", len(rows), *codes, *[-9] * len(padding), *[0] * 12, *[1500] * len(rows), *padding
    )
    header += struct.pack("<h40sh80s80s88s", 0, b"digital", round(rate), b"", b"", b"")
    checksum = binascii.crc_hqx(header + comment, 0xFFFF)
    path.write_bytes(b"ISHNE1.0" + struct.pack("<H", checksum) + header + comment + stored.T.astype("<i2").tobytes())


def write_mortara(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = range(12)) -> None:
    """Write Mortara ELI XML with 400 steps per mV."""
    channels = "".join(
        f'<CHANNEL OFFSET="0" BITS="16" FORMAT="SIGNED" UNITS_PER_MV="400" DURATION="{len(row)}" '
        f'SAMPLE_FREQ="{rate:g}" NAME="{LEADS[index]}" ENCODING="BASE64" '
        f'DATA="{base64.b64encode(row.tobytes()).decode()}"/>'
        for index, row in zip(rows, steps(signal, 2.5)[list(rows)], strict=True)
    )
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><ECG ACQUISITION_TIME="20240305101530" VENT_RATE="61">'
        f'<SUBJECT LAST_NAME={quoteattr(LAST)} FIRST_NAME={quoteattr(FIRST)} ID={quoteattr(NUMBER)} DOB="19500304"/>'
        f'<AUTOMATIC_INTERPRETATION><STATEMENT TEXT="{STATEMENT}"/></AUTOMATIC_INTERPRETATION>'
        '<TYPICAL_CYCLE PR_DURATION="160" QRS_DURATION="90" QT="400" QTC="410" QRS_AXIS="-12"/>'
        f"{channels}</ECG>",
        encoding="utf-8",
    )


def write_scp(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = INDEPENDENT) -> None:
    """Write SCP-ECG (EN 1064) with steps of 2.5 uV, without compression."""
    stored = steps(signal, 2.5)[list(rows)].astype("<i2")
    _write_scp(path, rows, rate, [row.tobytes() for row in stored], stored.shape[1], difference=0, tables=None)


def write_scp_huffman(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = INDEPENDENT) -> None:
    """Write SCP-ECG with second differences in the default Huffman code."""
    stored = steps(signal, 2.5)[list(rows)].astype(int)
    coded = [_huffman(np.concatenate([row[:2], np.diff(row, 2)])) for row in stored]
    _write_scp(path, rows, rate, coded, stored.shape[1], difference=2, tables=struct.pack("<H", 19999))


def _huffman(values: np.ndarray) -> bytes:
    """Code values with table C.1 of EN 1064: the magnitude in ones, a zero and the sign, or a long form."""
    bits = []
    for value in map(int, values):
        if value == 0:
            bits.append("0")
        elif abs(value) <= 8:
            bits.append("1" * abs(value) + "0" + ("0" if value > 0 else "1"))
        elif -128 <= value < 128:
            bits.append("1111111110" + format(value & 0xFF, "08b"))
        else:
            bits.append("1111111111" + format(value & 0xFFFF, "016b"))
    text = "".join(bits)
    text += "0" * (-len(text) % 16)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _write_scp(
    path: Path, rows: Sequence[int], rate: float, coded: Sequence[bytes], length: int, *, difference: int,
    tables: bytes | None,
) -> None:  # fmt: skip
    codes = {0: 1, 1: 2, 2: 61, 3: 62, 4: 63, 5: 64} | {index: index - 3 for index in range(6, 12)}
    tags = {0: LAST, 1: FIRST, 2: NUMBER, 20: PHYSICIAN}
    patient = b"".join(struct.pack("<BH", tag, len(text) + 1) + text.encode() + b"\0" for tag, text in tags.items())
    leads = struct.pack("<BB", len(rows), 4 | len(rows) << 3)
    leads += b"".join(struct.pack("<IIB", 1, length, codes[index]) for index in rows)
    rhythm = struct.pack("<HHBB", 2500, round(1e6 / rate), difference, 0)
    rhythm += struct.pack(f"<{len(coded)}H", *map(len, coded)) + b"".join(coded)
    statement = STATEMENT.encode() + b"\0"
    statements = b"\0" + struct.pack("<HBB3B", 2024, 3, 5, 10, 15, 30) + b"\1" + struct.pack("<BH", 1, len(statement))
    # One reference beat: P at 120 ms, QRS from 280 to 370 ms, T up to 680 ms, and axes of 40, -12 and 33 degrees.
    measured = struct.pack("<BBHH5H3h", 1, 0, 984, 0, 120, 220, 280, 370, 680, 40, -12, 33)
    bodies = {1: patient + struct.pack("<BH", 255, 0), 3: leads, 6: rhythm, 7: measured, 8: statements + statement}
    if tables is not None:
        bodies[2] = tables
    sections, place, pointers = b"", 7 + 16 + 120, {0: (136, 7)}
    for number, body in sorted(bodies.items()):
        body += b"\0" * (len(body) % 2)
        pointers[number] = (16 + len(body), place)
        sections += _scp_section(number, body)
        place += 16 + len(body)
    table = b"".join(struct.pack("<HII", number, *pointers.get(number, (0, 0))) for number in range(12))
    content = _scp_section(0, table) + sections
    content = struct.pack("<I", len(content) + 6) + content
    path.write_bytes(struct.pack("<H", binascii.crc_hqx(content, 0xFFFF)) + content)


def _scp_section(number: int, body: bytes) -> bytes:
    head = struct.pack("<HIBB6s", number, 16 + len(body), 20, 20, b"SCPECG" if number == 0 else b"")
    return struct.pack("<H", binascii.crc_hqx(head + body, 0xFFFF)) + head + body


def write_mfer(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = range(12)) -> None:
    """Write MFER (ISO 22077-1) in little-endian order with steps of 1.25 uV, one block per lead."""
    codes = {0: 1, 1: 2, 2: 61, 3: 62, 4: 63, 5: 64} | {index: index - 3 for index in range(6, 12)}
    stored = steps(signal, 1.25)[list(rows)].astype("<i2")
    definitions = [
        (0x40, b"MFR Standard 12 leads ECG".ljust(32)), (0x01, b"\1"), (0x81, f"{LAST}^^{FIRST}".encode()),
        (0x82, NUMBER.encode()), (0x08, struct.pack("<H", 1)), (0x0B, b"\0\0" + struct.pack("<H", round(rate))),
        (0x0C, b"\0\xf8" + struct.pack("<H", 125)), (0x0A, b"\0"), (0x04, struct.pack("<I", stored.shape[1])),
        (0x05, bytes([len(rows)])), (0x06, b"\1"), (0x16, STATEMENT.encode()),
    ]  # fmt: skip
    content = b"".join(bytes([tag, len(value)]) + value for tag, value in definitions)
    for channel, index in enumerate(rows):
        content += bytes([0x3F, channel, 3, 0x09, 1, codes[index]])
    samples = stored.tobytes()
    path.write_bytes(content + b"\x1e\x84" + struct.pack(">I", len(samples)) + samples + b"\x80\x00")


def write_csv(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = range(12)) -> None:
    """Write CSV with times in ms and microvolts to one digit."""
    header = ",".join(["time_ms", *(f"{LEADS[index]} [uV]" for index in rows)])
    times = np.arange(signal.shape[1]) / rate * 1000
    table = np.column_stack([times, *(signal[list(rows)] * 1000)])
    np.savetxt(path, table, fmt="%.1f", delimiter=",", header=header, comments="")


def write_sierra(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = range(12)) -> None:
    """Write Philips Sierra XML with steps of 5 uV in plain Base64."""
    samples = steps(signal, 5.0)[list(rows)].astype("<i2").tobytes()
    _write_sierra(path, samples, signal, rate, rows, compression="")


def write_sierra_xli(path: Path, signal: np.ndarray, rate: float, rows: Sequence[int] = range(12)) -> None:
    """Write Philips Sierra XML with steps of 5 uV, compressed."""
    samples = xli_encode(steps(signal, 5.0)[list(rows)].astype(np.int32))
    _write_sierra(path, samples, signal, rate, rows, compression=' compression="XLI" compressflag="True"')


def _write_sierra(
    path: Path, samples: bytes, signal: np.ndarray, rate: float, rows: Sequence[int], *, compression: str
) -> None:
    labels = " ".join(LEADS[index] for index in rows)
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><restingecgdata xmlns="http://www3.medical.philips.com">'
        "<documentinfo><documenttype>PhilipsECG</documenttype><documentversion>1.04</documentversion></documentinfo>"
        '<dataacquisition date="2024-03-05" time="10:15:30"><signalcharacteristics>'
        f"<samplingrate>{rate:g}</samplingrate><resolution>5</resolution>"
        f"<numberchannelsallocated>{len(rows)}</numberchannelsallocated>"
        f"<numberchannelsvalid>{len(rows)}</numberchannelsvalid>"
        "<acquisitiontype>STD-12</acquisitiontype></signalcharacteristics></dataacquisition>"
        f"<patient><generalpatientdata><patientid>{NUMBER}</patientid><name><lastname>{LAST}</lastname>"
        f"<firstname>{FIRST}</firstname></name></generalpatientdata></patient>"
        "<interpretations><interpretation><globalmeasurements><heartrate>61</heartrate><print>160</print>"
        "<qrsdur>90</qrsdur><qtint>400</qtint><qrsfrontaxis>-12</qrsfrontaxis></globalmeasurements>"
        f"<statement><leftstatement>{STATEMENT}</leftstatement></statement></interpretation></interpretations>"
        f'<waveforms><parsedwaveforms dataencoding="Base64" durationperchannel="{signal.shape[1] * 1000 / rate:g}" '
        f'samplespersecond="{rate:g}" resolution="5" numberofleads="{len(rows)}" leadlabels="{labels}"{compression}>'
        f"{base64.b64encode(samples).decode()}</parsedwaveforms></waveforms></restingecgdata>",
        encoding="utf-8",
    )


Writer = Callable[..., None]
WRITERS: dict[str, tuple[Writer, str, float]] = {
    "ge-muse-xml": (write_muse, ".xml", 4.88),
    "hl7-aecg": (write_aecg, ".xml", 2.5),
    "philips-sierra-xml": (write_sierra, ".xml", 5.0),
    "philips-sierra-xml-compressed": (write_sierra_xli, ".xml", 5.0),
    "mortara-xml": (write_mortara, ".xml", 2.5),
    "edf": (write_edf, ".edf", 0.16),
    "ishne": (write_ishne, ".ecg", 1.5),
    "scp-ecg": (write_scp, ".scp", 2.5),
    "scp-ecg-compressed": (write_scp_huffman, ".scp", 2.5),
    "mfer": (write_mfer, ".mwf", 1.25),
    "csv": (write_csv, ".csv", 0.1),
}
"""Function, suffix and step in uV of each format, by its name and the name of its compression."""
