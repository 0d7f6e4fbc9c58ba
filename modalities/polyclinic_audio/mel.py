"""Log-mel spectrograms.

The mel scale is Slaney's (Auditory Toolbox, Interval Research technical report 1998-010): linear up to 1000 Hz,
3 mel for every 200 Hz, and logarithmic above, 27 mel for every factor of 6.4. HTK's scale is not used: it crowds
the lowest filters below the resolution of a short window.
"""

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

_MEL_PER_HZ = 3 / 200
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ * _MEL_PER_HZ
_LOG_STEP = np.log(6.4) / 27
_DYNAMIC_RANGE_DB = 80.0


def hz_to_mel(hz: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """Convert frequencies in Hz to Slaney's mel scale."""
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz * _MEL_PER_HZ, above)


def mel_to_hz(mel: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """Convert Slaney's mel scale to frequencies in Hz."""
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel / _MEL_PER_HZ, above)


def mel_filterbank(*, mels: int, fft: int, rate: int) -> Float[np.ndarray, "F K"]:
    """Build triangular filters of unit area in Hz, with corners equally spaced in mel from 0 to half the rate.

    Args:
        mels: number of filters F.
        fft: length of the Fourier transform; K is ``fft // 2 + 1``.
        rate: samples per second.

    Raises:
        ValueError: a filter is narrower than the resolution of the transform, and so holds no bin.
    """
    corners = mel_to_hz(np.linspace(0.0, float(hz_to_mel(np.array(rate / 2))), mels + 2))
    low, centre, high = (corners[shift : shift + mels, None] for shift in range(3))
    bins = np.linspace(0, rate / 2, fft // 2 + 1)
    triangles = np.maximum(0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    if empty := int((triangles.max(axis=1) == 0).sum()):
        raise ValueError(
            f"got {mels} mels with a transform of {fft} samples, which leaves {empty} of them empty; "
            "lower `mels` or lengthen `frame`"
        )
    return triangles * 2 / (high - low)


def log_mel(
    samples: Float[np.ndarray, " N"], *, filters: Float[np.ndarray, "F K"], window: int, hop: int
) -> Float[np.ndarray, "M F"]:
    """Return mel power in dB of full scale, in ``M = ceil(N / hop)`` frames, floored 80 dB below the loudest band.

    Args:
        samples: signal at the rate of ``filters``.
        filters: filters of ``mel_filterbank``.
        window: length of the Hann window in samples, at most that of the transform.
        hop: samples between the starts of successive frames.
    """
    frames = -(-len(samples) // hop)
    padded = np.zeros((frames - 1) * hop + max(window, hop), dtype=samples.dtype)
    padded[: len(samples)] = samples
    taper = np.hanning(window + 1)[:-1].astype(samples.dtype)
    cut = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:frames] * taper
    spectrum = np.fft.rfft(cut, n=2 * (filters.shape[1] - 1), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) / float(taper.sum()) ** 2
    # A filter holds few bins, so a sparse product takes a fifteenth of the time, without the threads of a dense one.
    bands = np.ascontiguousarray(power @ csr_array(filters.T.astype(power.dtype)))
    floor = max(float(bands.max()) * 10 ** (-_DYNAMIC_RANGE_DB / 10), 1e-20)
    return 10 * np.log10(np.maximum(bands, floor))
