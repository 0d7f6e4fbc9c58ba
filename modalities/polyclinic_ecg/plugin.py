"""The ECG plugin: twelve-lead electrocardiograms from WFDB, DICOM, the exports of ECG carts, and CSV."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from polyclinic.modality import (
    BaselineFeatures,
    Cleaned,
    Identity,
    IndexEntry,
    Issue,
    Item,
    Modality,
    OnTraces,
    Physiology,
    Recognised,
    ResearchReport,
    Source,
    Traces,
    UnreadableSource,
    nested_names,
)
from polyclinic.nn import Encoder, FixedFeatures, RandomKernels, Transformer, TransformerEncoder
from polyclinic_dicom.directory import read_directory
from polyclinic_ecg.augment import apply, draw
from polyclinic_ecg.deidentify import comment_names, write_clean_dicom, write_clean_record
from polyclinic_ecg.deidentify_export import write_clean_export
from polyclinic_ecg.drawing import draw_leads, draw_stretches, locate_stretches, view_recording, write_leads
from polyclinic_ecg.features import KernelFeatures
from polyclinic_ecg.issues import encoding_of, recording_issues
from polyclinic_ecg.phantom import write_phantom
from polyclinic_ecg.reading.cart import cart_format, read_cart
from polyclinic_ecg.reading.cart_facts import cart_facts
from polyclinic_ecg.reading.cart_people import cart_names
from polyclinic_ecg.reading.dicom_waveform import parse_waveforms, read_dicom
from polyclinic_ecg.reading.wfdb_record import header_of, read_wfdb, record_files
from polyclinic_ecg.recognise import recognise_recording
from polyclinic_ecg.recording import LEADS, Electrocardiogram
from polyclinic_ecg.signal import window
from polyclinic_ecg.tokens import Masking, PatchTokenizer, Stem


class ECG(Modality):
    """Electrocardiograms as twelve leads in millivolts, whose voltage is never normalised.

    Args:
        rate: samples per second after resampling.
        seconds: length of the window in the middle of the record; shorter records are padded and masked.
        patch: samples per token of the default encoder; divides ``rate * seconds``.
        highpass: cut-off in Hz against baseline wander, below 0.67 to preserve the ST segment; 0 turns it off.
        shift: largest augmentation shift in seconds.
        gain: standard deviation of the logarithm of the augmentation gain.
        wander: standard deviation of the added baseline drift in mV.
        noise: largest standard deviation of the added noise in mV.
        drop: probability that augmentation drops a lead; at least one lead remains.
        stem: patch embedding of the default encoder, ``linear``, ``lead`` or ``conv``; see ``PatchTokenizer``.
        masking: unit of masking in masked pretraining: a token (``random``), a stretch of all leads (``time``), or a
            complete ``lead``, which needs ``stem: lead``.
        normalised_targets: standardise each patch of the target in masked pretraining; a missing record can then not
            be imputed in mV.

    Raises:
        ValueError: an argument is out of range, or ``patch`` does not divide the window.
    """

    suffixes: ClassVar[tuple[str, ...]] = (
        *(".hea", ".dat", ".mat", ".dcm", ""),
        *(".xml", ".edf", ".ecg", ".scp", ".mwf", ".mfer", ".csv"),
    )
    dicom_modalities: ClassVar[tuple[str, ...]] = ("ECG",)
    title: ClassVar[str] = "ECG"

    def __init__(
        self,
        *,
        rate: float = 100.0,
        seconds: float = 10.0,
        patch: int = 20,
        highpass: float = 0.5,
        shift: float = 1.0,
        gain: float = 0.05,
        wander: float = 0.03,
        noise: float = 0.02,
        drop: float = 0.03,
        stem: Stem = "linear",
        masking: Masking = "random",
        normalised_targets: bool = False,
    ) -> None:
        length = round(rate * seconds)
        if length <= 0 or patch <= 0 or length % patch:
            raise ValueError(
                f"got {length} samples (rate {rate:g} x seconds {seconds:g}) with patch {patch}; "
                "`rate * seconds` must be a positive multiple of `patch`"
            )
        if not 0 <= highpass < rate / 2:
            raise ValueError(f"got highpass {highpass:g} Hz at rate {rate:g} Hz, expected 0 to half the rate")
        if masking not in get_args(Masking):
            raise ValueError(f"got masking {masking!r}, expected one of {get_args(Masking)}; set `masking`")
        if not 0 <= shift < seconds:
            raise ValueError(f"got shift {shift:g} s, expected 0 to less than `seconds` ({seconds:g})")
        self.rate, self.seconds, self.patch, self.highpass = rate, seconds, patch, highpass
        self.shift, self.gain, self.wander, self.noise, self.drop = shift, gain, wander, noise, drop
        self.stem, self.masking, self.normalised_targets = stem, masking, normalised_targets

    def read(self, source: Source) -> Electrocardiogram:
        """Decode a file to millivolts.

        It is a WFDB record (``.hea``, ``.dat`` or name without suffix), or, by its content, a DICOM waveform, an export
        of a cart (``reading.cart.FORMATS``) or a CSV table of leads over time.
        """
        if not isinstance(source, Path):
            raise UnreadableSource("got inline data, expected a file of an electrocardiogram; set `path` in the cohort")
        header = header_of(source)
        if header is not None:
            return read_wfdb(header)
        if not source.is_file():
            raise UnreadableSource("file cannot be opened: no such file and no WFDB header beside it")
        return read_dicom(source) if cart_format(source) is None else read_cart(source)

    def recognise(self, path: Path) -> Recognised:
        """Read the header of a WFDB record, whose signal files must exist, or of a DICOM waveform."""
        return recognise_recording(path)

    def file_results(self, path: Path) -> Mapping[str, float | str]:
        """Return what a cart measured and stated; see ``cart_facts``. WFDB and DICOM have no columns."""
        return {} if cart_format(path) is None else cart_facts(path)

    def read_index(self, path: Path) -> list[IndexEntry]:
        """Return the files that a DICOMDIR lists; see ``read_directory``."""
        return read_directory(path)

    def report(self, source: Source, report: ResearchReport) -> bytes | None:
        """Write scores as a DICOM structured report that references the electrocardiogram; None without DICOM."""
        # Imported here, because the library that writes such documents is in an extra.
        from polyclinic_dicom.sr_write import research_sr  # noqa: PLC0415

        return research_sr(source, report)

    def files(self, source: Source) -> tuple[Path, ...]:
        """Return the headers of a WFDB record and its segments, then its signal files; or the one file."""
        if not isinstance(source, Path) or (header := header_of(source)) is None:
            return super().files(source)
        files = record_files(header)
        return files if source in files or not source.is_file() else (*files, source)

    def describe(self, raw: Electrocardiogram) -> Mapping[str, float | str]:
        """Return format, encoding, rate, seconds, leads, flat leads, share of missing samples and units."""
        return raw.facts

    def issues(self, source: Source, raw: Electrocardiogram) -> Iterable[Issue]:
        """Report header identifiers, missing or flat leads, gain, joined groups, gaps, saturation and checksum."""
        return recording_issues(self.files(source), raw)

    def stored_as(self, source: Source) -> str:
        """Return the WFDB storage formats, the DICOM transfer syntax or the format of a cart."""
        return encoding_of(source)

    def names(self, source: Source) -> Iterable[str]:
        """Return names and numbers in the comments of a WFDB header, in a DICOM header or in a cart export."""
        if not isinstance(source, Path):
            return ()
        header = header_of(source)
        if header is not None:
            return comment_names(header)
        return nested_names(parse_waveforms(source)) if cart_format(source) is None else cart_names(source)

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write a WFDB record as WFDB, a DICOM waveform as DICOM with the listed elements only, and all else as WFDB.

        What comes from a cart or a table keeps its rate and leads, each sample to half a nanovolt, and nothing else.
        """
        raw = self.read(source)
        assert isinstance(source, Path), "read accepts files only"
        header = header_of(source)
        if header is not None:
            cleaned = write_clean_record(header, out, identity)
        elif cart_format(source) is None:
            cleaned = write_clean_dicom(source, out, identity)
        else:
            return write_clean_export(raw, out)
        if not np.array_equal(self.read(cleaned.source).signal, raw.signal, equal_nan=True):
            raise UnreadableSource(
                "its samples depend on a header value that de-identification removes, such as a number out of range"
            )
        return cleaned

    def prepare(self, raw: Electrocardiogram) -> Item:
        """Resample, high-pass and crop or pad.

        Returns:
            ``signal`` [12, T] in mV, ``sample_mask`` [12, T] that is True for recorded samples, and ``lead_mask``
            [12] that is True for leads with any sample.
        """
        signal, mask = window(
            raw.signal, source_rate=raw.rate, rate=self.rate, seconds=self.seconds, highpass=self.highpass
        )
        return _item(signal, mask)

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Shift in time, scale, add drift and noise, and drop some leads, but never all."""
        signal, mask = item["signal"].numpy(), item["sample_mask"].numpy()
        variation = draw(
            rng,
            shape=(signal.shape[0], signal.shape[1]),
            shift=round(self.shift * self.rate),
            gain=self.gain,
            wander=self.wander,
            noise=self.noise,
            drop=self.drop,
        )
        return _item(*apply(variation, signal, mask))

    def baseline(self) -> BaselineFeatures:
        """Return features of random convolution kernels."""
        return BaselineFeatures(name="random convolution kernels", learn=self._random_kernels)

    def fixed_features(self) -> FixedFeatures:
        """Build random convolution kernels over all leads."""
        return KernelFeatures(leads=len(LEADS), length=round(self.rate * self.seconds))

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw six leads over time."""
        draw_leads(study["signal"].numpy(), study["sample_mask"].numpy(), rate=self.rate, axes=axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw leads over time in front of the relevance of stretches; all leads if each has separate tokens."""
        draw_stretches(
            study["signal"].numpy(),
            study["sample_mask"].numpy(),
            relevance,
            rate=self.rate,
            by_lead=self._by_lead(relevance),
            axes=axes,
        )

    def view(self, raw: Electrocardiogram) -> Traces:
        """Draw ten seconds of all leads at up to 600 samples per second, with the squares of ECG paper."""
        return view_recording(raw)

    def locate(self, raw: Electrocardiogram, item: Item, relevance: Float[Tensor, " T"]) -> OnTraces:
        """Place the relevance of stretches of time on the view, by lead if each has separate tokens."""
        return locate_stretches(raw, relevance, seconds=self.seconds, by_lead=self._by_lead(relevance))

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write a WFDB record in mV whose header states that it is synthetic."""
        return write_leads(study["signal"].numpy(), rate=self.rate, path=path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write a synthetic resting electrocardiogram as a WFDB record."""
        return write_phantom(physiology, rng, path)

    def default_encoder(self, size: str) -> Encoder:
        """Build the shared transformer over time patches."""
        trunk = Transformer.of_size(size)
        length = round(self.rate * self.seconds)
        tokenizer = PatchTokenizer(
            length=length,
            patch=self.patch,
            width=trunk.width,
            stem=self.stem,
            masking=self.masking,
            normalised_targets=self.normalised_targets,
        )
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    def _random_kernels(self, raws: Sequence[Electrocardiogram]) -> Callable[[Sequence[Electrocardiogram]], np.ndarray]:
        kernels = RandomKernels(channels=len(LEADS), length=round(self.rate * self.seconds))
        kernels.fit(self._signals(raws))
        return lambda given: kernels(self._signals(given)).numpy()

    def _signals(self, raws: Sequence[Electrocardiogram]) -> Float[Tensor, "N L T"]:
        return torch.stack([self.prepare(raw)["signal"] for raw in raws])

    def _by_lead(self, relevance: Float[Tensor, " T"]) -> bool:
        """Return True for the tokens of the default encoder with ``stem: lead``, one row per lead."""
        return self.stem == "lead" and len(relevance) == len(LEADS) * (round(self.rate * self.seconds) // self.patch)


def _item(signal: np.ndarray, mask: np.ndarray) -> Item:
    recorded = torch.from_numpy(mask)
    return {"signal": torch.from_numpy(signal), "lead_mask": recorded.any(dim=1), "sample_mask": recorded}
