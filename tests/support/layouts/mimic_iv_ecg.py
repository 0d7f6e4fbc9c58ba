"""A root of MIMIC-IV-ECG 1.0: list of records, files, output of the cart; patients as in MIMIC-IV."""

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from layouts.ecg_files import write_record

LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")


class Record(NamedTuple):
    """``damage``: of the signal, one of nan, zero, flat lead, absent."""

    subject: int
    study: int
    time: str
    damage: str = ""


class CartRow(NamedTuple):
    """Lines of the cart, and rr_interval, p_onset, p_end, qrs_onset, qrs_end, t_end, p_axis, qrs_axis, t_axis."""

    lines: tuple[str, ...]
    measured: tuple[int | str, ...]


RECORDS = (
    Record(10000032, 40689238, "2180-07-23 08:44:00"),
    Record(10000032, 44458630, "2180-07-23 09:54:00"),
    Record(10000117, 49036311, "2181-03-04 17:14:00", "nan"),
    Record(10000560, 45090959, "2189-10-16 13:26:00", "zero"),
    Record(10000635, 41879011, "2136-06-19 09:46:00", "flat lead"),
    Record(10000635, 42289326, "2136-06-19 09:47:00", "absent"),
    Record(10000764, 42354540, "2132-10-14 10:05:00"),
)
CART_ROWS = {
    40689238: CartRow(("Sinus rhythm", "Possible left atrial enlargement"), (659, 40, 128, 170, 258, 518, 81, 77, 75)),
    # Blank lines before filled ones, a comma, a full stop; no P wave.
    44458630: CartRow(("", "", "Atrial fibrillation, rapid.", "", "Abnormal ECG"),
                   (65535, 29999, 29999, 180, 268, 516, 32767, -32768, 360)),
    41879011: CartRow(("",), ("", 50, 50, 180, 180, 179, 29999, 361, -360)),
    42354540: CartRow(("Sinus rhythm",), (10000, 40, 29999, 170, 171, 29999, 0, -180, 180)),
}  # fmt: skip
_PATIENTS = """\
subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
10000032,F,52,2180,2014 - 2016,2180-09-09
10000117,F,48,2174,2008 - 2010,
10000635,F,91,2136,2008 - 2010,
10000764,M,91,2133,2014 - 2016,
"""


def write_mimic_iv_ecg(
    root: Path, records: Sequence[Record] = RECORDS, measurements: Mapping[int, CartRow] = CART_ROWS
) -> None:
    """Write the tables, with measurements in another order, and records of 500 Hz and 10 s as WFDB writes them."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ["subject_id,study_id,file_name,ecg_time,path"]
    for record in records:
        path = f"files/p{record.subject // 10000}/p{record.subject}/s{record.study}/{record.study}"
        lines.append(f"{record.subject},{record.study},{record.study},{record.time},{path}")
        if record.damage != "absent":
            write_record(root / path, leads=LEADS, rate=500, values=_signal(record))
    (root / "record_list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_measurements(root / "machine_measurements.csv", records, measurements)


def write_note_links(root: Path) -> None:
    (root / "waveform_note_links.csv").write_text(
        "subject_id,study_id,waveform_path,note_id,note_seq,charttime\n"
        "10000032,40689238,files/p1000/p10000032/s40689238/40689238,10000032-EK-2,2,2180-07-23 10:00:00\n"
        "10000032,40689238,files/p1000/p10000032/s40689238/40689238,10000032-EK-1,1,2180-07-23 09:00:00\n"
    )


def write_patients(root: Path) -> None:
    """Write ``hosp/patients.csv.gz`` of MIMIC-IV; patient 10000560 is not in it."""
    (root / "hosp").mkdir(parents=True)
    (root / "hosp" / "patients.csv.gz").write_bytes(gzip.compress(_PATIENTS.encode()))


def _write_measurements(path: Path, records: Sequence[Record], measurements: Mapping[int, CartRow]) -> None:
    names = [f"report_{line}" for line in range(18)]
    measured = ("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis")
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["subject_id", "study_id", "cart_id", "ecg_time", *names, "bandwidth", "filtering", *measured])
        for record in reversed(records):
            row = measurements.get(record.study, CartRow((), ("",) * len(measured)))
            lines = [*row.lines, *[""] * (18 - len(row.lines))]
            setting = ["0.005-150 Hz", "60 Hz notch Baseline filter"]
            writer.writerow([record.subject, record.study, 6848296, record.time, *lines, *setting, *row.measured])


def _signal(record: Record) -> np.ndarray:
    values = np.random.default_rng(record.study).normal(0, 0.3, (5000, len(LEADS)))
    if record.damage == "nan":
        values[1234, 7] = np.nan
    elif record.damage == "zero":
        values[:] = 0
    elif record.damage == "flat lead":
        values[:, 5] = 0
    else:
        assert record.damage == "", record.damage
    return values
