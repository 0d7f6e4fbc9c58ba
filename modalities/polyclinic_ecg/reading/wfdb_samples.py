"""The samples of one WFDB segment, with lengths and checksums verified."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.reading.quiet_wfdb import digital_record
from polyclinic_ecg.reading.wfdb_header import BYTES_PER_SAMPLE, Declared, Signal
from polyclinic_ecg.recording import Channel

_BLOCK = 4
"""Bytes: the formats that pack several samples together end on a block of at most this size."""


def read_samples(header: Path, declared: Declared) -> tuple[list[Channel], str]:
    """Read every signal of a record of one segment in its own unit.

    Args:
        header: the ``.hea`` file; signal files lie beside it.
        declared: what it says, its size checked.

    Returns:
        One channel per signal, NaN where it has no sample, and whether checksums were ``verified`` or ``absent``.

    Raises:
        UnreadableSource: a signal file that is missing, shorter or longer than declared, or altered.
    """
    try:
        _refuse_longer(header, declared)
        values, sums = _read(header, declared)
    except UnreadableSource:
        raise
    except Exception as error:
        raise UnreadableSource(
            f"signal file is missing, truncated or not as declared ({type(error).__name__})"
        ) from None
    verified = _verify([signal.checksum for signal in declared.signals], sums)
    return [
        Channel(signal.name, signal.unit, _aligned(samples, signal))
        for signal, samples in zip(declared.signals, values, strict=True)
    ], verified


def _read(header: Path, declared: Declared) -> tuple[list[np.ndarray], list[int]]:
    """Values in the signals' own units, not yet aligned, and the sums of the stored integers."""
    record = digital_record(declared.lines, header.absolute().parent)
    # wfdb 4.3 cannot return the big-endian integers of format 61; they are worked out from the values instead.
    if any(signal.encoding == "61" for signal in declared.signals):
        record.dac(expanded=True, inplace=True)
        values, record.e_d_signal = record.e_p_signal, record.adc(expanded=True)
    else:
        values = record.dac(expanded=True)
    return values, record.calc_checksum(expanded=True)


def _refuse_longer(header: Path, declared: Declared) -> None:
    """Without a checksum, a number of samples that lost a digit would pass: the file holds more than it declares."""
    for name in {signal.file for signal in declared.signals if signal.checksum is None}:
        signals = [signal for signal in declared.signals if signal.file == name]
        size = BYTES_PER_SAMPLE.get(signals[0].encoding)
        if size is None:
            continue
        frame = sum(signal.per_frame for signal in signals) * size
        expected, held = signals[0].offset + frame * declared.frames, header.with_name(name).stat().st_size
        if held - expected >= max(frame, _BLOCK):
            raise UnreadableSource(
                f"signal file of {held} bytes; its header declares {round(expected)} and no checksum"
            )


def _aligned(samples: Float[np.ndarray, " N"], signal: Signal) -> Float[np.ndarray, " N"]:
    """Samples of a skewed signal, moved to the time of the others; what lies behind the last was not recorded."""
    late = min(signal.skew * signal.per_frame, len(samples))
    if not late:
        return samples
    return np.concatenate([samples[late:], np.full(late, np.nan, samples.dtype)])


def _verify(stated: Sequence[int | None], sums: Sequence[int]) -> str:
    """Compare the 16-bit sums of the samples with those that the header states."""
    if any(want is not None and want % 65536 != got % 65536 for want, got in zip(stated, sums, strict=True)):
        raise UnreadableSource("samples do not match the checksum in the WFDB header; the file was altered")
    return "absent" if None in stated else "verified"
