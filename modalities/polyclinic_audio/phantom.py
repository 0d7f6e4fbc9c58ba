"""Synthetic breath sounds, as recorded by a stethoscope at the back of the chest, in 16-bit WAV.

Normal and added sounds follow the description and the frequency ranges of Bohadana, Izbicki and Kraman 2014
(New England Journal of Medicine 370:744-751): breath noise below 1000 Hz, stronger and longer in inspiration;
wheezes of 100 Hz and more, lasting over 80 ms; fine crackles of about 650 Hz and 5 ms in late inspiration, coarse
ones of about 350 Hz and 15 ms.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float

from polyclinic.modality import Physiology

RATE = 4000
SECONDS = 8
_LENGTH = RATE * SECONDS
_HUM = {"north": 0.0004, "south": 0.0015}
_BANDWIDTH = {"north": 1700.0, "south": 1200.0}


class _Phase(NamedTuple):
    """Start and duration of an inspiration or expiration, in seconds."""

    start: float
    duration: float


class _Cycle(NamedTuple):
    """Inspiration and expiration of one breath."""

    inspiration: _Phase
    expiration: _Phase


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Render and write the sounds of a recording; the gain of the device varies between studies."""
    sound = render_sounds(physiology, rng)
    level = np.exp(rng.uniform(np.log(0.15), np.log(0.9)))
    stored = np.round(np.clip(sound / np.abs(sound).max() * level, -1, 1) * 32767).astype(np.int16)
    soundfile.write(path, stored, RATE, subtype="PCM_16")
    return path


def render_sounds(physiology: Physiology, rng: np.random.Generator) -> Float[np.ndarray, " N"]:
    """Return the sum of breath, wheeze, crackles, heart and device, in arbitrary units."""
    cycles = _cycles(physiology, rng)
    chest = np.exp(rng.normal(0, 0.2) - 0.1 * physiology.habitus - 1.7 * physiology.effusion)
    lung = _breath(physiology, rng, cycles) + _wheeze(physiology, rng, cycles)
    lung += _crackles(physiology, rng, cycles)
    return chest * lung + _heart(physiology, rng) + _device(physiology, rng)


def _cycles(physiology: Physiology, rng: np.random.Generator) -> list[_Cycle]:
    """Draw breaths that cover the recording, which starts anywhere in the first breath."""
    period = 60 / (rng.normal(16, 2) + 5 * physiology.consolidation + 4 * physiology.fluid)
    share = np.clip(0.42 - 0.12 * physiology.airway_tone + rng.normal(0, 0.03), 0.2, 0.55)
    start, cycles = -rng.uniform(0, period), []
    while start < SECONDS:
        length = period * np.exp(rng.normal(0, 0.06))
        inspiration = _Phase(start, share * length)
        pause = 0.04 * length
        expired = (0.34 + 0.28 * physiology.airway_tone) * length
        cycles.append(_Cycle(inspiration, _Phase(start + inspiration.duration + pause, expired)))
        start += length
    return cycles


def _span(phase: _Phase) -> tuple[slice, Float[np.ndarray, " n"]]:
    """Return the samples of a phase inside the recording, and their positions in the phase from 0 to 1."""
    first = max(0, round(phase.start * RATE))
    last = min(_LENGTH, round((phase.start + phase.duration) * RATE))
    span = slice(first, max(first, last))
    return span, np.clip((np.arange(span.start, span.stop) / RATE - phase.start) / phase.duration, 0, 1)


def _swell(place: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return an envelope that rises from 0 to 1 and falls back over one phase."""
    return np.sin(np.pi * place**0.8) ** 2


def _noise(rng: np.random.Generator, low: float, high: float, steepness: float) -> Float[np.ndarray, " N"]:
    """Draw noise of unit deviation between two frequencies in Hz, with Butterworth slopes."""
    hz = np.fft.rfftfreq(_LENGTH, 1 / RATE)
    shape = 1 / np.sqrt(1 + (hz / high) ** steepness) / np.sqrt(1 + (low / np.maximum(hz, 1)) ** 6)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(_LENGTH)) * shape, _LENGTH)
    return noise / noise.std()


def _breath(physiology: Physiology, rng: np.random.Generator, cycles: list[_Cycle]) -> Float[np.ndarray, " N"]:
    """Render turbulent noise: inspiration is louder and brighter; consolidation conducts high tones."""
    bright = 1 + 0.7 * physiology.consolidation + rng.normal(0, 0.1)
    inspired, expired = np.zeros(_LENGTH), np.zeros(_LENGTH)
    for cycle in cycles:
        for envelope, phase in ((inspired, cycle.inspiration), (expired, cycle.expiration)):
            span, place = _span(phase)
            envelope[span] += _swell(place)
    loudness = 0.45 + 0.4 * physiology.consolidation + rng.normal(0, 0.05)
    inward = _noise(rng, 90, 380 * bright, 5) * inspired
    return 0.1 * (inward + loudness * _noise(rng, 80, 250 * bright, 5) * expired)


def _wheeze(physiology: Physiology, rng: np.random.Generator, cycles: list[_Cycle]) -> Float[np.ndarray, " N"]:
    """Render a gliding tone with harmonics in each expiration; almost inaudible in an open airway."""
    sound = np.zeros(_LENGTH)
    loudness = 0.20 * physiology.airway_tone**1.7 * np.exp(rng.normal(0, 0.3))
    base = np.exp(rng.uniform(np.log(150), np.log(600)))
    for cycle in cycles:
        part = rng.uniform(0.4, 0.9)
        start = cycle.expiration.start + rng.uniform(0, 1 - part) * cycle.expiration.duration
        span, place = _span(_Phase(start, part * cycle.expiration.duration))
        pitch = base * np.exp(rng.normal(0, 0.08) + rng.normal(-0.1, 0.12) * place)
        pitch *= 1 + 0.012 * np.sin(2 * np.pi * rng.uniform(2, 6) * place)
        angle = 2 * np.pi * np.cumsum(np.clip(pitch, 80, 750)) / RATE + rng.uniform(0, 6)
        tones = np.sin(angle) + rng.uniform(0.1, 0.4) * np.sin(2 * angle) + rng.uniform(0, 0.2) * np.sin(3 * angle)
        sound[span] += loudness * np.exp(rng.normal(0, 0.2)) * _swell(place) * tones
    return sound


def _crackles(physiology: Physiology, rng: np.random.Generator, cycles: list[_Cycle]) -> Float[np.ndarray, " N"]:
    """Render fine crackles of fluid, coarse crackles of consolidation, and the rustle of every recording."""
    fine, coarse = physiology.fluid, physiology.consolidation
    sound = np.zeros(_LENGTH)
    for cycle in cycles:
        late = _times(rng, cycle.inspiration, 32 * fine**1.2, 0.5, 1.0)
        early = _times(rng, cycle.expiration, 10 * fine**1.2, 0.0, 0.8)
        _add_clicks(sound, rng, np.concatenate([late, early]), 650, 0.0022, 0.16)
        inside = _times(rng, cycle.inspiration, 20 * coarse**1.2, 0.1, 0.8)
        outside = _times(rng, cycle.expiration, 9 * coarse**1.2, 0.0, 0.8)
        _add_clicks(sound, rng, np.concatenate([inside, outside]), 300, 0.006, 0.42)
    rustle = rng.uniform(0, SECONDS, size=rng.poisson(5))
    _add_clicks(sound, rng, rustle, 420, 0.004, 0.18)
    return sound


def _times(
    rng: np.random.Generator, phase: _Phase, expected: float, first: float, last: float
) -> Float[np.ndarray, " n"]:
    """Draw random times in seconds between two fractions of a phase."""
    return phase.start + phase.duration * rng.uniform(first, last, size=rng.poisson(expected))


def _add_clicks(
    sound: Float[np.ndarray, " N"],
    rng: np.random.Generator,
    moments: Float[np.ndarray, " n"],
    pitch: float,
    decay: float,
    loudness: float,
) -> None:
    """Add damped tones of about ``pitch`` Hz and ``decay`` seconds at the times inside the recording."""
    count = len(moments)
    reach = np.arange(int(6 * decay * RATE)) / RATE
    hz = pitch * np.exp(rng.normal(0, 0.18, size=(count, 1)))
    size = loudness * np.exp(rng.normal(0, 0.45, size=(count, 1))) * rng.choice([-1, 1], size=(count, 1))
    clicks = size * np.sin(2 * np.pi * hz * reach) * np.exp(-reach / decay)
    _place(sound, moments, clicks)


def _place(sound: Float[np.ndarray, " N"], moments: Float[np.ndarray, " n"], shapes: Float[np.ndarray, "n L"]) -> None:
    """Add one waveform at each time, if it fits into the recording."""
    length = shapes.shape[1]
    at = np.round(moments * RATE).astype(int)
    inside = (at >= 0) & (at < len(sound) - length)
    np.add.at(sound, at[inside, None] + np.arange(length), shapes[inside])


def _heart(physiology: Physiology, rng: np.random.Generator) -> Float[np.ndarray, " N"]:
    """Render the first and second heart sound of every beat; the pulse is irregular in fibrillation."""
    beat = 60 / physiology.heart_rate
    spread = 0.02 + 0.2 * max(0.0, physiology.fibrillation - 0.3)
    gaps = beat * np.exp(rng.normal(0, spread, size=int(1.6 * SECONDS / beat) + 3))
    first = np.cumsum(gaps) - rng.uniform(1, 2) * beat
    second = first + 0.32 * np.sqrt(beat)
    loudness = 0.05 * np.exp(rng.normal(0, 0.2) - 0.1 * physiology.habitus)
    sound = np.zeros(_LENGTH)
    for moments, pitch, width, share in ((first, 45.0, 0.022, 1.0), (second, 62.0, 0.016, 0.7)):
        reach = np.arange(int(6 * width * RATE)) / RATE - 3 * width
        tone = np.cos(2 * np.pi * pitch * reach) * np.exp(-((reach / width) ** 2))
        _place(sound, moments, np.tile(loudness * share * tone, (len(moments), 1)))
    return sound


def _device(physiology: Physiology, rng: np.random.Generator) -> Float[np.ndarray, " N"]:
    """Render room and amplifier noise in the band of the device, and mains hum."""
    hum = _HUM[physiology.site] * np.sin(2 * np.pi * 50 * np.arange(_LENGTH) / RATE + rng.uniform(0, 6))
    return 0.0025 * np.exp(rng.normal(0, 0.3)) * _noise(rng, 30, _BANDWIDTH[physiology.site], 8) + hum
