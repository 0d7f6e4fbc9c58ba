"""Resample a recording to a window of fixed rate and length, and remove baseline wander."""

from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float
from scipy.signal import butter, resample_poly, sosfiltfilt

_MARGIN_SECONDS = 2.0


def window(
    signal: Float[np.ndarray, "12 N"], *, source_rate: float, rate: float, seconds: float, highpass: float
) -> tuple[Float[np.ndarray, "12 T"], Bool[np.ndarray, "12 T"]]:
    """Resample, remove baseline wander, and crop to the middle ``seconds``; shorter records are padded at the end.

    The high-pass is a second-order Butterworth filter applied forwards and backwards. Without phase distortion, a
    cut-off up to 0.67 Hz preserves the ST segment (Kligfield et al. 2007, AHA/ACC/HRS recommendations part I).

    Args:
        signal: leads in mV, NaN where nothing was recorded; gaps are interpolated before filtering, so that a NaN
            does not spread, and masked afterwards.
        source_rate: samples per second of ``signal``.
        rate: samples per second of the result.
        seconds: length of the result.
        highpass: cut-off in Hz; 0 only subtracts the median of each lead.

    Returns:
        Leads in mV with zeros where the mask is False, and the mask, True where a lead was recorded.
    """
    # The margins, which are cropped at the end, absorb the edge effects of both filters.
    cropped = _middle(signal, round((seconds + 2 * _MARGIN_SECONDS) * source_rate))
    present = ~np.isnan(cropped)
    filled = _bridge(cropped, present)
    resampled = _resample(filled, source_rate, rate)
    if highpass:
        sections = butter(2, highpass, btype="highpass", fs=rate, output="sos")
        padding = min(round(2 * rate), resampled.shape[1] - 1)
        resampled = sosfiltfilt(sections, resampled, axis=1, padtype="even", padlen=padding)
    recorded = _resample_mask(present, resampled.shape[1])
    length = round(seconds * rate)
    values = _pad(_middle(np.where(recorded, resampled, 0.0).astype(np.float32), length), length)
    return values, _pad(_middle(recorded, length), length)


def _middle(rows: np.ndarray, length: int) -> np.ndarray:
    start = max(0, (rows.shape[1] - length) // 2)
    return rows[:, start : start + length]


def _pad(rows: np.ndarray, length: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, length - rows.shape[1])))


def _bridge(signal: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Subtract the median of each lead and interpolate gaps linearly; leads without any sample are zero."""
    filled = np.zeros(signal.shape)
    complete = present.all(axis=1)
    filled[complete] = signal[complete] - np.median(signal[complete], axis=1, keepdims=True)
    times = np.arange(signal.shape[1])
    for lead in np.flatnonzero(~complete & present.any(axis=1)):
        mask = present[lead]
        values = signal[lead, mask]
        filled[lead] = np.interp(times, times[mask], values - np.median(values))
    return filled


def _resample(signal: np.ndarray, source_rate: float, rate: float) -> np.ndarray:
    ratio = Fraction(rate / source_rate).limit_denominator(1000)
    if ratio == 1:
        return signal
    return np.asarray(resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="edge"))


def _resample_mask(present: np.ndarray, length: int) -> np.ndarray:
    """Return True where all source samples around a resampled sample were recorded."""
    if present.shape[1] == length:
        return present
    if (present.all(axis=1) | ~present.any(axis=1)).all():
        return np.repeat(present[:, :1], length, axis=1)
    step = present.shape[1] / length
    # Counts of missing samples before each sample: equal counts at both ends of a span mean that none is missing in it.
    first = np.maximum(np.floor((np.arange(length) - 0.5) * step).astype(int), 0)
    last = np.minimum(np.ceil((np.arange(length) + 0.5) * step).astype(int) + 1, present.shape[1])
    missing = np.pad(np.cumsum(~present, axis=1), ((0, 0), (1, 0)))
    return np.asarray(missing[:, last] == missing[:, first])
