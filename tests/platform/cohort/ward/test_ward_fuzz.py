"""Mutated records of every format are read or counted; no error of a parser ends the reading of a folder."""

import random
from pathlib import Path

import pytest

from polyclinic.cohort.ward import read_ward
from polyclinic_dicom.sr_records import read_sr
from ward_files import message, obr, obx, pid, write_records

_TOKENS = (
    *(b"|", b"^", b"~", b"\\", b"&", b"\r", b'"', b"{", b"[", b"null", b"1e400", b"\\ud800", b"\0", b"\xff"),
    *(b"MSH|", b'""', b"-1", b"9999"),
)


def _mutated(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((0, 1, 2, 8))):
        place, kind = rng.randrange(len(changed)), rng.random()
        if kind < 0.4:
            changed[place] = rng.randrange(256)
        elif kind < 0.6:
            del changed[place : place + rng.randrange(1, 30)]
        elif kind < 0.9:
            token = rng.choice(_TOKENS)
            changed[place : place + rng.choice((0, len(token)))] = token
        else:
            del changed[place:]
        changed = changed or bytearray(b"x")
    return bytes(changed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore")  # pydicom warns about odd values
def test_no_mutation_ends_the_reading_of_a_folder(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    write_records(tmp_path / "whole")
    results = [
        obx("13.2", unit="g/dL^^UCUM", range="1-2", time="20240102101530+0100"),
        *(obx("<^1", kind="SN"), obx("x\\T\\y\\X41\\", kind="FT"), obx("1^a^L", kind="CWE")),
    ]
    (tmp_path / "whole" / "results.hl7").write_text(message(pid(), obr("F9"), *results))
    files = sorted((tmp_path / "whole").iterdir())
    for attempt in range(12):
        folder = tmp_path / f"folder{attempt}"
        folder.mkdir()
        for file in files:
            (folder / file.name).write_bytes(_mutated(file.read_bytes(), rng))
        out = tmp_path / f"out{attempt}"
        try:
            report = read_ward(folder, out=out, readers=[read_sr]).report
        except ValueError as refusal:
            message_ = str(refusal)
        else:
            message_ = "" if report["measurements"] + report["reports"] else "nothing was read"
        assert not message_ or message_.startswith("no result and no report")
        assert out.exists() == (not message_)
