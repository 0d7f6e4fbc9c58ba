"""Read the WFDB headers of the PhysioNet/CinC challenges 2020 and 2021: age, sex and SNOMED CT codes in comments."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from polyclinic.system.progress import track

SCHEMA = pa.schema(
    [
        ("ecg", pa.string()),
        ("record", pa.string()),
        ("folder", pa.string()),
        ("verdict", pa.string()),
        ("rate", pa.float64()),
        ("leads", pa.int64()),
        ("age_as_typed", pa.string()),
        ("sex_as_typed", pa.string()),
        ("codes", pa.list_(pa.string())),
    ]
)
NO_HEADER = "is not the header of a WFDB record"
NO_SIGNAL = "signal file is missing"
CUT_SIGNAL = "signal file is shorter than its header states"
OUTSIDE = "signal file is not beside the header"

_MAX_BYTES = 100_000
_RECORD = re.compile(r"\s*(\S+)\s+(\d{1,3})\s+(\d+(?:\.\d+)?)(?:/\S+)?\s+(\d{1,9})(?:\s|$)")
# Format 16 with the 24 bytes of a MATLAB 4 header before the samples, written 16+24 or 16x1+24.
_SIGNAL = re.compile(r"\s*(\S+)\s+16(?:x1)?(?:\+(\d{1,6}))?\s")
_COMMENT = re.compile(r"\s*#\s*(Age|Sex|Dx)\s*:\s*(.*?)\s*$", re.IGNORECASE)
_CODE = re.compile(r"\d{6,18}")


def read_headers(root: Path, paths: Iterable[str]) -> pa.Table:
    """Read headers to the columns of ``SCHEMA``; ``verdict`` is the reason why a record cannot be used.

    Args:
        root: base folder of the paths.
        paths: ``.hea`` files, relative to the root.
    """
    rows = [_row(root, path) for path in track(list(paths), description="reading headers")]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(root: Path, path: str) -> dict[str, Any]:
    file = root / path
    row: dict[str, Any] = {"ecg": path, "record": file.stem, "folder": file.parent.relative_to(root).as_posix()}
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode("latin-1")
    except OSError:
        return {**row, "verdict": NO_HEADER}
    lines = [line for line in text.splitlines() if line.strip()]
    record = _RECORD.match(lines[0]) if lines else None
    if record is None:
        return {**row, "verdict": NO_HEADER}
    # A last line without its end may have lost codes, which would make their diagnoses absent.
    whole = lines if text.endswith(("\n", "\r")) else lines[:-1]
    comments = {key.lower(): value for key, value in _comments(whole)}
    return {
        **row,
        "verdict": _signal_verdict(file, lines[1:], leads=int(record[2]), samples=int(record[4])),
        "rate": float(record[3]),
        "leads": int(record[2]),
        "age_as_typed": comments.get("age"),
        "sex_as_typed": comments.get("sex"),
        "codes": sorted(set(_CODE.findall(comments.get("dx", "")))),
    }


def _comments(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        if match := _COMMENT.match(line):
            yield match[1], match[2]


def _signal_verdict(header: Path, lines: list[str], *, leads: int, samples: int) -> str:
    """Return why the signal file cannot be used; formats other than 16 are left to the reader of the records."""
    signals = [line for line in lines if not line.lstrip().startswith("#")]
    if len(signals) < leads:
        return NO_HEADER
    names = {line.split()[0] for line in signals[:leads]}
    if any("/" in name or "\\" in name or name.strip(".") == "" for name in names):
        return OUTSIDE
    if not all(header.with_name(name).is_file() for name in names):
        return NO_SIGNAL
    plain = [_SIGNAL.match(line) for line in signals[:leads]]
    if len(names) == 1 and all(plain):
        offset = int(plain[0][2] or 0) if plain[0] is not None else 0
        if header.with_name(next(iter(names))).stat().st_size < offset + 2 * leads * samples:
            return CUT_SIGNAL
    return ""
