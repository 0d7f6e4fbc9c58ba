"""WFDB records as the public sets write them: format 16, 200 units per mV."""

from pathlib import Path

import numpy as np

_GAIN = 200


def write_record(
    path: Path, *, leads: tuple[str, ...], rate: int, seconds: int = 10, seed: int = 0, values: np.ndarray | None = None
) -> None:
    """Write ``path.hea`` and ``path.dat``; ``values`` in mV, [N, leads], NaN as format 16 has it (-32768)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.random.default_rng(seed).normal(0, 0.3, (rate * seconds, len(leads)))
    stored = np.where(np.isnan(values), -32768, np.round(values * _GAIN)).astype("<i2")
    path.with_suffix(".dat").write_bytes(stored.tobytes())
    sums = stored.astype(np.int64).sum(axis=0) % 65536
    sums = np.where(sums > 32767, sums - 65536, sums)
    lines = [f"{path.name} {len(leads)} {rate} {len(stored)}"]
    for lead, first, total in zip(leads, stored[0], sums, strict=True):
        lines.append(f"{path.name}.dat 16 {_GAIN}.0(0)/mV 16 0 {first} {total} 0 {lead}")
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n")
