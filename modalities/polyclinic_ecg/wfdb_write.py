"""Write a WFDB record in format 16 or 32 without the validation of wfdb, which takes ten times as long."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Int32


def write_wfdb(
    path: Path,
    stored: Int16[np.ndarray, "L N"] | Int32[np.ndarray, "L N"],
    *,
    names: Sequence[str],
    gain: str,
    rate: float,
    comments: Sequence[str],
) -> Path:
    """Write the header and the signal file of a record.

    Args:
        path: path of the record without a suffix.
        stored: stored integer samples, one row per lead, in format 16 or 32 by their type.
        names: names of the leads.
        gain: gain with baseline and unit in the form of header(5), such as ``200(0)/mV``.
        rate: samples per second.
        comments: comment lines after the leads.

    Returns:
        Path of the header.
    """
    header = [
        f"{path.name} {len(stored)} {rate:g} {stored.shape[1]}",
        *(_signal_line(path.name, gain, name, row) for name, row in zip(names, stored, strict=True)),
        *(f"# {comment}" for comment in comments),
    ]
    stored.T.astype(stored.dtype.newbyteorder("<")).tofile(path.with_name(f"{path.name}.dat"))
    target = path.with_name(f"{path.name}.hea")
    target.write_text("\n".join(header) + "\n", encoding="ascii")
    return target


def _signal_line(record: str, gain: str, name: str, samples: np.ndarray) -> str:
    """Return the line of a lead in the form of header(5)."""
    checksum = int(samples.sum(dtype=np.int64) % 65536)
    bits = 8 * samples.itemsize
    return f"{record}.dat {bits} {gain} {bits} 0 {samples[0]} {checksum} 0 {name}"
