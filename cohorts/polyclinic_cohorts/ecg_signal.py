"""Whether the samples of a WFDB record can be used, looked at fast enough for hundreds of thousands of records."""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

NAN = "NaN in the signal"
ALL_ZERO = "all zero"
FLAT_LEAD = "an all-zero lead"
ALTERED = "samples do not match the checksum"
UNREADABLE = "cannot be read"

_NOT_RECORDED = -32768
_RECORD = re.compile(r"\S+[ \t]+(?P<signals>\d+)[ \t]+\S+[ \t]+(?P<samples>\d+)(?=\s|$)")
_SIGNAL = re.compile(
    r"(?P<file>[^\s/\\:]+)[ \t]+16[ \t]+-?[\d.eE+]+(?:\((?P<baseline>-?\d+)\))?(?:/\S+)?"
    r"[ \t]+\d+[ \t]+(?P<zero>-?\d+)[ \t]+-?\d+[ \t]+(?P<checksum>-?\d+)[ \t]+0(?=\s|$)"
)


class _Plain(NamedTuple):
    """What the header of a record says whose leads lie interleaved in one file of 16-bit numbers."""

    file: str
    samples: int
    baselines: tuple[int, ...]
    checksums: tuple[int, ...]


def usable_signal(path: Path) -> str:
    """Why the samples of a record cannot be used: empty, or the first of the reasons of this module that holds.

    Zero means 0 mV. A record whose signal file is missing or cut short cannot be read; what is
    longer than the header declares is read as far as it declares, as wfdb does.

    Args:
        path: the ``.hea`` file; its signal file lies beside it.
    """
    try:
        plain = _plain(path.read_text(encoding="latin-1"))
        if plain is not None:
            content = path.with_name(plain.file).read_bytes()
    except OSError:
        return UNREADABLE
    if plain is None:
        return _verdict_by_wfdb(path)
    size = plain.samples * len(plain.baselines)
    if len(content) < 2 * size:
        return UNREADABLE
    return _verdict(np.frombuffer(content, "<i2", count=size).reshape(plain.samples, -1), plain)


def _plain(header: str) -> _Plain | None:
    """None where only wfdb knows how to read the record."""
    lines = [line for line in header.splitlines() if line.strip() and not line.startswith("#")]
    record = _RECORD.match(lines[0]) if lines else None
    signals = [_SIGNAL.match(line) for line in lines[1:]]
    found = [signal for signal in signals if signal is not None]
    if record is None or len(found) != len(signals) or len({signal["file"] for signal in found}) != 1:
        return None
    if int(record["signals"]) != len(found) or int(record["samples"]) == 0:
        return None
    return _Plain(
        file=found[0]["file"],
        samples=int(record["samples"]),
        baselines=tuple(int(signal["baseline"] or signal["zero"]) for signal in found),
        checksums=tuple(int(signal["checksum"]) for signal in found),
    )


def _verdict(stored: Shaped[np.ndarray, "N leads"], plain: _Plain) -> str:
    if stored.min() == _NOT_RECORDED:
        return NAN
    # A lead that is zero begins with zero: the others need no second look.
    flat = [
        bool(stored[0, lead] == baseline and (stored[:, lead] == baseline).all())
        for lead, baseline in enumerate(plain.baselines)
    ]
    sums = stored.sum(axis=0, dtype=np.int64)
    if ((sums - np.array(plain.checksums)) % 65536).any():
        return ALTERED
    return _zeros(flat)


def _verdict_by_wfdb(path: Path) -> str:
    with warnings.catch_warnings():
        # wfdb 4.3 uses parts of pandas that are deprecated.
        warnings.simplefilter("ignore")
        import wfdb  # noqa: PLC0415 - takes a second to load, and plain records do not need it
    try:
        values: Float[np.ndarray, "N leads"] = wfdb.rdrecord(str(path.with_suffix(""))).p_signal
    except Exception:
        # A damaged header or file makes wfdb fail in many ways.
        return UNREADABLE
    if values.size == 0:
        return UNREADABLE
    if np.isnan(values).any():
        return NAN
    return _zeros([bool(lead) for lead in (values == 0).all(axis=0)])


def _zeros(flat: list[bool]) -> str:
    return ALL_ZERO if all(flat) else FLAT_LEAD if any(flat) else ""
