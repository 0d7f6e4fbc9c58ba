"""Read the samples of one WFDB segment, and verify lengths and checksums."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.reading.quiet_wfdb import digital_record
from polyclinic_ecg.reading.wfdb_header import BYTES_PER_SAMPLE, Declared, Signal
from polyclinic_ecg.recording import Channel

_MAX_BLOCK_BYTES = 4
"""Largest block of the formats that pack several samples together, at whose end a file may be padded."""


def read_samples(header: Path, declared: Declared) -> tuple[list[Channel], str]:
    """Read every signal of a segment in the unit of its header.

    Args:
        header: ``.hea`` file, in the folder of the signal files.
        declared: parsed header, whose dimensions were checked.

    Returns:
        One channel per signal, NaN where it has no sample, and ``verified`` or ``absent`` for the checksums.

    Raises:
        UnreadableSource: a signal file is missing, shorter or longer than declared, or altered.
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
    """Return values in the units of the header, before alignment, and the sums of the stored integers."""
    record = digital_record(declared.lines, header.absolute().parent)
    # wfdb 4.3 cannot return the big-endian integers of format 61, so that they are computed from the values.
    if any(signal.encoding == "61" for signal in declared.signals):
        record.dac(expanded=True, inplace=True)
        values, record.e_d_signal = record.e_p_signal, record.adc(expanded=True)
    else:
        values = record.dac(expanded=True)
    return values, record.calc_checksum(expanded=True)


def _refuse_longer(header: Path, declared: Declared) -> None:
    """Refuse a longer file than declared; without a checksum, a sample count that lost a digit would pass."""
    for name in {signal.file for signal in declared.signals if signal.checksum is None}:
        signals = [signal for signal in declared.signals if signal.file == name]
        size = BYTES_PER_SAMPLE.get(signals[0].encoding)
        if size is None:
            continue
        frame = sum(signal.per_frame for signal in signals) * size
        expected, actual = signals[0].offset + frame * declared.frames, header.with_name(name).stat().st_size
        if actual - expected >= max(frame, _MAX_BLOCK_BYTES):
            raise UnreadableSource(
                f"signal file of {actual} bytes; its header declares {round(expected)} and no checksum"
            )


def _aligned(samples: Float[np.ndarray, " N"], signal: Signal) -> Float[np.ndarray, " N"]:
    """Shift the samples of a skewed signal to the time of the others, with NaN at the end."""
    late = min(signal.skew * signal.per_frame, len(samples))
    if not late:
        return samples
    return np.concatenate([samples[late:], np.full(late, np.nan, samples.dtype)])


def _verify(stated: Sequence[int | None], sums: Sequence[int]) -> str:
    """Compare the 16-bit sums of the samples with those that the header states."""
    pairs = zip(stated, sums, strict=True)
    if any(expected is not None and expected % 65536 != actual % 65536 for expected, actual in pairs):
        raise UnreadableSource("samples do not match the checksum in the WFDB header; the file was altered")
    return "absent" if None in stated else "verified"
