"""Audio modality: breath and heart sounds as log-mel spectrograms."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from scipy.signal import resample_poly
from torch import Tensor

from polyclinic.modality import (
    BaselineFeatures,
    Cleaned,
    Identity,
    Issue,
    Item,
    Modality,
    OnPicture,
    Physiology,
    Picture,
    Source,
    UnreadableSource,
)
from polyclinic.nn import Encoder, FixedFeatures, Transformer, TransformerEncoder
from polyclinic_audio.deidentify import tag_names, write_clean_sound
from polyclinic_audio.drawing import draw_mel, draw_patches, locate_patches, view_spectrogram, write_mel
from polyclinic_audio.features import BandFeatures
from polyclinic_audio.issues import encoding_of, recording_issues
from polyclinic_audio.mel import log_mel, mel_filterbank
from polyclinic_audio.phantom import write_phantom
from polyclinic_audio.reading.reader import read_header, read_sound
from polyclinic_audio.recording import Recording
from polyclinic_audio.tokens import TimePatchTokenizer

_QUANTILES = (0.1, 0.5, 0.9)
_RATE, _SECONDS = 4000, 8.0
"""Rate and length where neither a setting nor a cohort states one; checkpoints without a state have them."""

_RATES, _LENGTHS = (2000, 16_000), (1.0, 10.0)
_MAX_HEADERS = 200
_EARLIER: dict[str, Any] = {
    "window": 40.0, "hop": 20.0, "normalisation": "recording", "centre": -75.0, "spread": 15.0, "time_mask": 0.1,
    "band_mask": 0.1,
}  # fmt: skip
"""Settings before ``frame``, ``fixed_level`` and ``masks``, with their defaults."""


class Audio(Modality):
    """Recordings, encoded as normalised log-mel spectrograms of fixed length.

    Args:
        rate: samples per second after resampling; unless set, ``adapt`` takes the most common rate of the training
            recordings, from 2000 to 16,000. It is 4000 until then.
        seconds: length after a central crop, or after padding at the end; unless set, ``adapt`` takes the median of
            the training recordings in whole seconds, from 1 to 10. It is 8 until then.
        max_seconds: longest readable file.
        mels: number of bands, on Slaney's scale from 0 to half of ``rate``.
        frame: length of a frame, and time from one to the next, in ms.
        patch: frames per token of the default encoder.
        fixed_level: level in dB of full scale that becomes 0, and difference in dB that becomes 1, which preserves the
            recorded level; unless set, each recording gets zero mean and unit deviation.
        gain: largest change of level in augmentation, in units of the normalised spectrogram.
        shift: largest circular shift in augmentation, as a share of the recording.
        masks: largest share of the frames, and of the bands, that augmentation hides (Park et al. 2019).
        noise: standard deviation of the noise of augmentation, in units of the normalised spectrogram.
        normalised_targets: whether the targets of masked pretraining are standardised per patch; a missing recording
            can then not be imputed.

    Raises:
        ValueError: a size is not positive, or the length of ``frame`` does not resolve as many ``mels``.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".wav", ".flac", ".ogg", ".mp3")
    title: ClassVar[str] = "Sound"

    def __init__(
        self,
        *,
        rate: int | None = None,
        seconds: float | None = None,
        max_seconds: float = 600.0,
        mels: int = 64,
        frame: tuple[float, float] = (40.0, 20.0),
        patch: int = 8,
        fixed_level: tuple[float, float] | None = None,
        gain: float = 0.2,
        shift: float = 0.5,
        masks: tuple[float, float] = (0.1, 0.1),
        noise: float = 0.1,
        normalised_targets: bool = True,
    ) -> None:
        self._unset = [name for name, value in (("rate", rate), ("seconds", seconds)) if value is None]
        self._learned: dict[str, float] = {}
        self.rate, self.seconds = _RATE if rate is None else rate, _SECONDS if seconds is None else seconds
        sizes = {"rate": self.rate, "seconds": self.seconds, "mels": mels, "frame": min(frame), "patch": patch}
        spread = 1.0 if fixed_level is None else fixed_level[1]
        if wrong := [f"{name}={value}" for name, value in {**sizes, "fixed_level": spread}.items() if value <= 0]:
            raise ValueError(f"got {', '.join(wrong)}; expected positive numbers")
        self.max_seconds = max_seconds
        self.mels, self.frame, self.patch, self.fixed_level = mels, frame, patch, fixed_level
        self.gain, self.shift, self.masks, self.noise = gain, shift, masks, noise
        self.normalised_targets = normalised_targets
        self._derive_sizes()

    @classmethod
    def upgraded(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings of release 0.2.0 under their present names, of which some have two values."""
        kept = {name: value for name, value in settings.items() if name not in _EARLIER}
        old = _EARLIER | {name: value for name, value in settings.items() if name in _EARLIER}
        if kept.keys() & {"frame", "fixed_level", "masks"} or not settings.keys() & _EARLIER.keys():
            return dict(settings)
        level = (old["centre"], old["spread"]) if old["normalisation"] == "fixed" else None
        return kept | {
            "frame": (old["window"], old["hop"]),
            "fixed_level": level,
            "masks": (old["time_mask"], old["band_mask"]),
        }

    def adapt(self, sources: Sequence[Source]) -> dict[str, str]:
        """Derive ``rate`` and ``seconds``, where they are not set, from the headers of recordings spread over a cohort.

        Raises:
            ValueError: the length of ``frame`` does not resolve as many ``mels`` at this rate.
        """
        files = [source for source in sources if isinstance(source, Path)] if self._unset else []
        chosen = files[:: max(1, -(-len(files) // _MAX_HEADERS))]
        headers = [header for file in chosen if (header := read_header(file)) is not None]
        if headers:
            (rate, _), *_ = Counter(rate for rate, _ in headers).most_common(1)
            (low, high), (shortest, longest) = _RATES, _LENGTHS
            median = float(np.median([seconds for _, seconds in headers]))
            learned = {"rate": min(max(rate, low), high), "seconds": min(max(float(round(median)), shortest), longest)}
            self._learn(learned)
        return {}

    def adapted(self) -> Mapping[str, str]:
        """Return the rate and the length that ``adapt`` derived."""
        units = {"rate": "Hz", "seconds": "s"}
        return {name: f"{value:g} {units[name]}" for name, value in self._learned.items()}

    def fit(self, raws: Iterable[Recording]) -> None:
        """Read nothing: ``adapt`` derives what ``state`` keeps."""

    def state(self) -> dict[str, Any]:
        """Return the rate and the length that ``adapt`` derived; empty if both are set, or before."""
        return dict(self._learned)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the rate and the length where they are not set; those of an empty state are 4000 Hz and 8 s.

        Raises:
            ValueError: a value is out of the range of ``adapt``.
        """
        for name, (low, high) in (("rate", _RATES), ("seconds", _LENGTHS)):
            if name in state and (not isinstance(state[name], int | float) or not low <= state[name] <= high):
                raise ValueError(f"got a state with {name} {state[name]!r}, expected {low:g} to {high:g}; set `{name}`")
        self._learn(state)

    def read(self, source: Source) -> Recording:
        """Decode a WAV, FLAC, OGG or MP3 file to mono at its own rate."""
        if not isinstance(source, Path):
            raise UnreadableSource("got inline data, expected a WAV, FLAC, OGG or MP3 file; set `path` in the cohort")
        return read_sound(source, max_seconds=self.max_seconds)

    def describe(self, raw: Recording) -> Mapping[str, float | str]:
        """Return format, rate and resampling in Hz, seconds, channels, level after averaging them, and clipping."""
        resampled = "no" if raw.rate == self.rate else f"{raw.rate} to {self.rate} Hz"
        return {**raw.facts, "resampled": resampled}

    def issues(self, source: Source, raw: Recording) -> Iterable[Issue]:
        """Report identifiers in tags, clipping, silence, channels in antiphase, and unusual lengths and rates."""
        return recording_issues(source, raw, rate=self.rate, seconds=self.seconds)

    def stored_as(self, source: Source) -> str:
        """Return the container of a sound file."""
        return encoding_of(source)

    def names(self, source: Source) -> Iterable[str]:
        """Return names of persons in the tags of a sound file."""
        return tag_names(source) if isinstance(source, Path) else ()

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write the samples alone, as WAV or FLAC; speech in the recording is not searched for names."""
        raw = self.read(source)
        assert isinstance(source, Path), "read() refuses other sources"
        cleaned = write_clean_sound(source, out)
        if not np.array_equal(self.read(cleaned.source).samples, raw.samples):
            raise UnreadableSource("de-identification would change the samples; this is a bug, please report it")
        return cleaned

    def prepare(self, raw: Recording) -> Item:
        """Crop, resample and transform to ``mel`` [M, F]; ``frames`` is the number before zero padding."""
        bands = self._decibels(raw)
        if self.fixed_level is None:
            bands = (bands - bands.mean()) / max(float(bands.std()), 1e-4)
        else:
            centre, spread = self.fixed_level
            bands = (bands - centre) / spread
        mel = np.zeros((self._frames, self.mels), dtype=np.float32)
        mel[: len(bands)] = bands
        return {"mel": torch.from_numpy(mel), "frames": torch.tensor(len(bands))}

    def baseline(self) -> BaselineFeatures:
        """Return statistics of each band of the spectrogram over time."""
        return BaselineFeatures(name="statistics of log-mel bands", learn=lambda raws: self._statistics)

    def fixed_features(self) -> FixedFeatures:
        """Build statistics of each band of the spectrogram over time."""
        return BandFeatures(mels=self.mels)

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Change the level, shift in time, mask a time segment and a group of bands, and add noise."""
        real = int(item["frames"])
        gain = rng.uniform(-self.gain, self.gain)
        shift = round(rng.uniform(-self.shift, self.shift) * real)
        start, stop = _random_segment(rng, real, self.masks[0])
        low, high = _random_segment(rng, self.mels, self.masks[1])
        mel = np.zeros((self._frames, self.mels), dtype=np.float32)
        np.add(np.roll(item["mel"].numpy()[:real], shift, axis=0), np.float32(gain), out=mel[:real])
        if self.noise:
            mel[:real] += np.float32(self.noise) * rng.standard_normal((real, self.mels), dtype=np.float32)
        mel[start:stop] = 0
        mel[:, low:high] = 0
        return {"mel": torch.from_numpy(mel), "frames": item["frames"].clone()}

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw the spectrogram of a prepared recording."""
        draw_mel(study["mel"].numpy(), hop=self.frame[1], axes=axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw the relevance of time segments over the spectrogram."""
        draw_patches(study["mel"].numpy(), relevance, patch=self.patch, hop=self.frame[1], axes=axes)

    def view(self, raw: Recording) -> Picture:
        """Return the spectrogram that the encoder reads, before normalisation."""
        return view_spectrogram(self._decibels(raw), raw, rate=self.rate, seconds=self.seconds)

    def locate(self, raw: Recording, item: Item, relevance: Float[Tensor, " T"]) -> OnPicture:
        """Return the relevance of time segments, for the view."""
        return locate_patches(relevance, frames=self._frames, shown=int(item["frames"]), patch=self.patch)

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write the spectrogram as a CSV file whose header marks it as synthetic.

        Values are in dB of full scale with ``fixed_level``, else in standard deviations from the mean of the
        recording.
        """
        mel = study["mel"].numpy()
        hop = self.frame[1]
        if self.fixed_level is None:
            return write_mel(mel, hop=hop, unit="deviations around the mean of a recording", path=path)
        centre, spread = self.fixed_level
        return write_mel(mel * spread + centre, hop=hop, unit="dB relative to full scale", path=path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write synthetic breath sounds as a 16-bit WAV file."""
        return write_phantom(physiology, rng, path.with_suffix(".wav"))

    def default_encoder(self, size: str) -> Encoder:
        """Build a transformer with one token per time patch."""
        trunk = Transformer.of_size(size)
        tokenizer = TimePatchTokenizer(
            frames=self._frames,
            mels=self.mels,
            patch=self.patch,
            width=trunk.width,
            normalised_targets=self.normalised_targets,
        )
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    def _learn(self, values: Mapping[str, float]) -> None:
        """Take over values of the settings that are not set; a missing one gets its default."""
        self._learned = {name: values[name] for name in self._unset if name in values}
        if "rate" in self._unset:
            self.rate = int(values.get("rate", _RATE))
        if "seconds" in self._unset:
            self.seconds = float(values.get("seconds", _SECONDS))
        self._derive_sizes()

    def _derive_sizes(self) -> None:
        self._window = max(2, round(self.rate * self.frame[0] / 1000))
        self._hop = max(1, round(self.rate * self.frame[1] / 1000))
        self._length = max(1, round(self.rate * self.seconds))
        self._frames = -(-self._length // self._hop)
        transform = 2 ** (self._window - 1).bit_length()
        self._filters = mel_filterbank(mels=self.mels, fft=transform, rate=self.rate)

    def _decibels(self, raw: Recording) -> Float[np.ndarray, "M F"]:
        """Return the mel power of the segment that the encoder reads, in dB of full scale."""
        return log_mel(self._resampled(raw), filters=self._filters, window=self._window, hop=self._hop)

    def _resampled(self, raw: Recording) -> Float[np.ndarray, " N"]:
        """Return the middle ``seconds`` of a recording, or a complete shorter one, at ``rate``."""
        length = max(1, round(self.seconds * raw.rate))
        start = max(0, (len(raw.samples) - length) // 2)
        samples = raw.samples[start : start + length]
        if raw.rate != self.rate:
            common = gcd(self.rate, raw.rate)
            samples = resample_poly(samples, self.rate // common, raw.rate // common)
        return samples[: self._length]

    def _statistics(self, raws: Sequence[Recording]) -> Float[np.ndarray, "N F"]:
        """Return mean, deviation and quantiles of each band over time."""
        rows = []
        for raw in raws:
            bands = self._decibels(raw)
            rows.append(
                np.concatenate([bands.mean(axis=0), bands.std(axis=0), *np.quantile(bands, _QUANTILES, axis=0)])
            )
        return np.stack(rows)


def _random_segment(rng: np.random.Generator, length: int, share: float) -> tuple[int, int]:
    """Draw a segment of at most ``share`` of ``length``."""
    size = int(rng.uniform(0, share) * length)
    start = int(rng.integers(0, length - size + 1))
    return start, start + size
