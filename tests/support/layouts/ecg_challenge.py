"""A root of the PhysioNet/CinC challenge 2021, as published there, with older folders and header styles beside it."""

import struct
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_GAIN = 1000


class Record(NamedTuple):
    """One record: its folder below the root, and the comments of its header."""

    path: str
    age: str
    sex: str
    codes: str
    rate: int = 500
    samples: int = 5000
    older: bool = False  # as in the challenge 2020


RECORDS = (
    Record("training/georgia/g1/E00001", "68", "Male", "426783006,164934002"),
    Record("training/georgia/g1/E00002", "NaN", "Female", "59118001,284470004,17338001"),
    Record("training/cpsc_2018/g1/A0001", "74", "Male", "59118001", samples=7500, older=True),
    Record("training/cpsc_2018_extra/g1/Q0001", "-1", "Unknown", "251173003"),
    Record("WFDB_PTB/S0001", "81", "F", "426783006", rate=1000, samples=3000),
    Record("training/ptb-xl/g1/HR00001", "300", "Female", "426783006"),
    Record("training/ptb-xl/g1/HR00002", "19", "M", "63593006,733534002"),
    Record("training/st_petersburg_incart/g1/I0001", "65", "male", "", rate=257, samples=257 * 20),
    Record("WFDBRecords/01/010/JS00001", "85", "Male", "164889003,59118001,164934002"),
    Record("training/ningbo/g1/JS10647", "17", "Female", "426177001,713427006"),
)


def values(record: Record) -> np.ndarray:
    """Return the signal that is written for a record, in integer units of 1/1000 mV, [samples, 12]."""
    rng = np.random.default_rng(crc32(Path(record.path).name.encode()))
    return np.round(rng.normal(0, 300, (record.samples, len(LEADS)))).astype("<i2")


def write_record(root: Path, record: Record) -> None:
    """Write the header and a MATLAB 4 file: five 32-bit integers, the name ``val``, and the samples, 24 bytes in."""
    path = root / record.path
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = values(record)
    # Type 30: little-endian, full numeric matrix of 16-bit integers; 12 rows in column order, that is by sample.
    head = struct.pack("<5i", 30, len(LEADS), record.samples, 0, 4) + b"val\0"
    path.with_suffix(".mat").write_bytes(head + stored.tobytes())
    kind, gain, mark = ("16+24", "1000/mV", "#") if record.older else ("16x1+24", "1000.0(0)/mV", "# ")
    date = " 05-Feb-2020 11:39:16" if record.older else ""
    lines = [f"{path.name} {len(LEADS)} {record.rate} {record.samples}{date}"]
    sums = (stored.astype(np.int64).sum(axis=0) + 32768) % 65536 - 32768
    for lead, first, total in zip(LEADS, stored[0], sums, strict=True):
        lines.append(f"{path.name}.mat {kind} {gain} 16 0 {first} {total} 0 {lead}")
    comments = {"Age": record.age, "Sex": record.sex, "Dx": record.codes, "Rx": "Unknown", "Hx": "Unknown"}
    lines += [f"{mark}{name}: {value}" for name, value in comments.items()]
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")


def write_ecg_challenge(root: Path, *, records: tuple[Record, ...] = RECORDS) -> None:
    """Write records with the list of names that each folder has."""
    for record in records:
        write_record(root, record)
        with (root / record.path).with_name("RECORDS").open("a") as stream:
            stream.write(f"{Path(record.path).name}\n")


def write_ptbxl_table(root: Path) -> None:
    """Write the columns of ``ptbxl_database.csv`` that matter; the first two records are of one patient."""
    root.mkdir(parents=True, exist_ok=True)
    lines = ("ecg_id,patient_id,age,strat_fold", "1,15709.0,56.0,10", "2,15709.0,19.0,10", "3,,19.0,3")
    (root / "ptbxl_database.csv").write_text("\n".join(lines) + "\n")
