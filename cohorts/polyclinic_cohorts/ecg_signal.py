"""Fast check of the samples of WFDB records, for hundreds of thousands of records."""

import re
import warnings
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from polyclinic.cohort.build import DataRoot, Flow
from polyclinic.cohort.build.data_root import MISSING

NAN = "NaN in the signal"
ALL_ZERO = "all zero"
FLAT_LEAD = "an all-zero lead"
ALTERED = "samples do not match the checksum"
UNREADABLE = "cannot be read"

_NOT_RECORDED = -32768
_RECORD = re.compile(r"\S+[ \t]+(?P<signals>\d+)[ \t]+\S+[ \t]+(?P<samples>\d+)(?=\s|$)")
_SIGNAL = re.compile(
    r"(?P<file>[^\s/\\:]+)[ \t]+16(?:x1)?(?:\+(?P<offset>\d{1,9}))?[ \t]+-?[\d.eE+]+"
    r"(?:\((?P<baseline>-?\d+)\))?(?:/\S+)?[ \t]+\d+"
    r"[ \t]+(?P<zero>-?\d+)[ \t]+-?\d+[ \t]+(?P<checksum>-?\d+)[ \t]+0(?=\s|$)"
)


class _PlainHeader(NamedTuple):
    """Header of a record whose leads are interleaved in one file of 16-bit integers, from an offset in bytes."""

    file: str
    offset: int
    samples: int
    baselines: tuple[int, ...]
    checksums: tuple[int, ...]


def exclude_unusable(
    data: DataRoot, flow: Flow, table: str, *, flat_leads: Literal["keep", "exclude"] = "keep"
) -> None:
    """Exclude the records whose header, in the column ``ecg``, is missing, or whose samples cannot be used.

    Args:
        data: base folder of the paths.
        flow: flow of the table.
        table: table with the column ``ecg``.
        flat_leads: whether to ``keep`` and count, or to ``exclude``, a record in which some leads are constantly zero.
    """
    verdicts = data.checked(table, "ecg", check=usable_signal)
    of = "ecg IN (SELECT file FROM {0} WHERE verdict = '{1}')".format
    flow.exclude(table, "header is missing", of(verdicts, MISSING))
    for reason in (UNREADABLE, ALTERED, NAN, ALL_ZERO):
        flow.exclude(table, reason, of(verdicts, reason))
    exclude_or_count = flow.exclude if flat_leads == "exclude" else flow.count
    exclude_or_count(table, FLAT_LEAD, of(verdicts, FLAT_LEAD))


def usable_signal(path: Path) -> str:
    """Return the first reason why the samples of a record cannot be used, as a constant of this module; empty if none.

    Zero means 0 mV. A record is unreadable if its signal file is missing or truncated; samples beyond the length in
    the header are ignored, as in wfdb.

    Args:
        path: ``.hea`` file, with the signal file beside it.
    """
    try:
        header = _parse_plain(path.read_text(encoding="latin-1"))
        if header is not None:
            content = path.with_name(header.file).read_bytes()
    except OSError:
        return UNREADABLE
    if header is None:
        return _verdict_by_wfdb(path)
    size = header.samples * len(header.baselines)
    if len(content) < header.offset + 2 * size:
        return UNREADABLE
    stored = np.frombuffer(content, "<i2", count=size, offset=header.offset).reshape(header.samples, -1)
    return _verdict(stored, header)


def _parse_plain(text: str) -> _PlainHeader | None:
    """Parse a header; return None if the record is not plain, and must be read by wfdb."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    record = _RECORD.match(lines[0]) if lines else None
    signals = [_SIGNAL.match(line) for line in lines[1:]]
    plain = [signal for signal in signals if signal is not None]
    sources = {(signal["file"], signal["offset"]) for signal in plain}
    if record is None or len(plain) != len(signals) or len(sources) != 1:
        return None
    if int(record["signals"]) != len(plain) or int(record["samples"]) == 0:
        return None
    return _PlainHeader(
        file=plain[0]["file"],
        offset=int(plain[0]["offset"] or 0),
        samples=int(record["samples"]),
        baselines=tuple(int(signal["baseline"] or signal["zero"]) for signal in plain),
        checksums=tuple(int(signal["checksum"]) for signal in plain),
    )


def _verdict(stored: Shaped[np.ndarray, "N leads"], header: _PlainHeader) -> str:
    if stored.min() == _NOT_RECORDED:
        return NAN
    # Testing the first sample skips the full comparison for nearly all leads that are not flat.
    flat = [
        bool(stored[0, lead] == baseline and (stored[:, lead] == baseline).all())
        for lead, baseline in enumerate(header.baselines)
    ]
    # WFDB checksums are the sums of the samples modulo 2**16.
    sums = stored.sum(axis=0, dtype=np.int64)
    if ((sums - np.array(header.checksums)) % 65536).any():
        return ALTERED
    return _zeros(flat)


def _verdict_by_wfdb(path: Path) -> str:
    with warnings.catch_warnings():
        # wfdb 4.3 uses deprecated parts of pandas.
        warnings.simplefilter("ignore")
        import wfdb  # noqa: PLC0415 - takes a second to load, and plain records do not need it
    try:
        values: Float[np.ndarray, "N leads"] = wfdb.rdrecord(str(path.with_suffix(""))).p_signal
    except Exception:
        # Damaged files make wfdb raise exceptions of many types.
        return UNREADABLE
    if values.size == 0:
        return UNREADABLE
    if np.isnan(values).any():
        return NAN
    return _zeros([bool(lead) for lead in (values == 0).all(axis=0)])


def _zeros(flat: list[bool]) -> str:
    return ALL_ZERO if all(flat) else FLAT_LEAD if any(flat) else ""
