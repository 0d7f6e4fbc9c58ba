"""The X-ray plugin: radiographs from DICOM, PNG and JPEG files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor

from polyclinic.modality import (
    BaselineFeatures,
    Cleaned,
    Identity,
    IndexEntry,
    Issue,
    Item,
    Modality,
    OnPicture,
    Physiology,
    Picture,
    Recognised,
    ResearchReport,
    Source,
    UnreadableSource,
)
from polyclinic.nn import Encoder, FixedFeatures, Transformer, TransformerEncoder
from polyclinic_dicom.decoders import decoders_by_format
from polyclinic_dicom.directory import read_directory
from polyclinic_monai.augment import DictionaryTransforms
from polyclinic_xray.deidentify import header_names, write_clean, write_redacted
from polyclinic_xray.drawing import draw_heat, draw_image, patch_grid, view_radiograph, write_image
from polyclinic_xray.features import GradientFeatures
from polyclinic_xray.gradients import gradient_histograms
from polyclinic_xray.issues import radiograph_issues, transfer_syntax
from polyclinic_xray.motion import moved
from polyclinic_xray.phantom import write_phantom
from polyclinic_xray.radiograph import Radiograph, placement, refuse_blank
from polyclinic_xray.reading.dicom import read_dicom
from polyclinic_xray.reading.formats import SIGNATURE_BYTES, refuse_other_formats
from polyclinic_xray.reading.raster import read_raster
from polyclinic_xray.recognise import recognise_radiograph
from polyclinic_xray.tokens import PatchTokenizer, Stem

_RASTER_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff")


class XRay(Modality):
    """Radiographs as one square channel with zero mean and unit deviation.

    Args:
        size: side in pixels after an aspect-preserving resize and centred padding.
        patch: side of a patch of the default encoder in pixels; divides ``size``.
        window: index of the VOI lookup table or window of a DICOM file to apply.
        rotation: largest augmentation angle in degrees.
        shift: largest augmentation shift, as a share of ``size``.
        zoom: largest relative change of scale in augmentation.
        contrast: largest relative change of contrast in augmentation.
        noise: standard deviation of added noise.
        transforms: further augmentations: arguments of random dictionary transforms of MONAI, by name, without
            ``keys``; see ``polyclinic_monai.augment.TRANSFORMS``.
        stem: patch embedding of the default encoder, ``linear`` or ``conv``; see ``PatchTokenizer``.
        normalised_targets: standardise each patch of the target in masked pretraining; a missing radiograph can then
            not be imputed.

    Raises:
        ValueError: ``patch`` does not divide ``size``, or a transform is unknown.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".dcm", ".png", ".jpg", ".jpeg", "")
    dicom_modalities: ClassVar[tuple[str, ...]] = ("CR", "DR", "DX", "RG")
    title: ClassVar[str] = "X-ray"
    encoders: ClassVar[tuple[str, ...]] = (
        "polyclinic_xray.timm_encoder.TimmEncoder",
        "polyclinic_xray.monai_encoder.MonaiEncoder",
    )

    def __init__(
        self,
        *,
        size: int = 224,
        patch: int = 16,
        window: int = 0,
        rotation: float = 7.0,
        shift: float = 0.05,
        zoom: float = 0.08,
        contrast: float = 0.2,
        noise: float = 0.05,
        transforms: dict[str, dict[str, Any]] | None = None,
        stem: Stem = "linear",
        normalised_targets: bool = True,
    ) -> None:
        if size <= 0 or patch <= 0 or size % patch:
            raise ValueError(f"got size {size} with patch {patch}; `size` must be a positive multiple of `patch`")
        self.size, self.patch, self.window = size, patch, window
        self.rotation, self.shift, self.zoom = rotation, shift, zoom
        self.contrast, self.noise, self.stem = contrast, noise, stem
        self.normalised_targets, self.transforms = normalised_targets, transforms
        self._varied = DictionaryTransforms(transforms or {})

    @classmethod
    def decoders(cls) -> dict[str, tuple[str, str]]:
        """Return the decoder of each transfer syntax; see ``Modality.decoders``."""
        return decoders_by_format()

    def read(self, source: Source) -> Radiograph:
        """Decode a DICOM, PNG or JPEG file to [0, 1], with dense tissue bright."""
        if not isinstance(source, Path):
            raise UnreadableSource("got inline data, expected a DICOM, PNG or JPEG file; set `path` in the cohort")
        try:
            with source.open("rb") as stream:
                head = stream.read(SIGNATURE_BYTES)
        except OSError as error:
            raise UnreadableSource(f"file cannot be opened ({type(error).__name__})") from None
        if head.startswith(_RASTER_SIGNATURES):
            raw = read_raster(source)
        else:
            refuse_other_formats(head)
            raw = read_dicom(source, window=self.window)
        refuse_blank(raw.pixels)
        return raw

    def recognise(self, path: Path) -> Recognised:
        """Read the header of a projection radiograph in DICOM; a PNG or JPEG file states no identifiers."""
        return recognise_radiograph(path)

    def read_index(self, path: Path) -> list[IndexEntry]:
        """Return the files that a DICOMDIR lists; see ``read_directory``."""
        return read_directory(path)

    def report(self, source: Source, report: ResearchReport) -> bytes | None:
        """Write scores as a DICOM structured report that references the radiograph; None for a PNG or JPEG file."""
        # Imported here, because the library that writes such documents is in an extra.
        from polyclinic_dicom.sr_write import research_sr  # noqa: PLC0415

        return research_sr(source, report)

    def describe(self, raw: Radiograph) -> Mapping[str, float | str]:
        """Return format, bit depth, photometric interpretation, transfer syntax and size."""
        return raw.facts

    def issues(self, source: Source, raw: Radiograph) -> Iterable[Issue]:
        """Report identifiers in the header, words in the pixels, clipping, size and pixel spacing."""
        return radiograph_issues(source, raw)

    def stored_as(self, source: Source) -> str:
        """Return the DICOM transfer syntax, ``png`` or ``jpeg``."""
        return transfer_syntax(source)

    def names(self, source: Source) -> Iterable[str]:
        """Return names and numbers in a DICOM header or in the metadata of a raster."""
        return header_names(source) if isinstance(source, Path) else ()

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write DICOM with the listed elements only, and a raster as PNG; refuse words in the pixels."""
        raw = self.read(source)
        assert isinstance(source, Path), "read accepts files only"
        cleaned = write_clean(source, raw, out, identity, suspects=suspects)
        if not np.array_equal(self.read(cleaned.source).pixels, raw.pixels):
            raise UnreadableSource(
                "its pixels depend on a header value that de-identification removes, such as a number out of range"
            )
        return cleaned

    def redact(self, source: Source, out: Path, identity: Identity) -> Cleaned:
        """Write the same file as ``deidentify``, with the words found in the pixels blacked out."""
        if not isinstance(source, Path):
            raise UnreadableSource("got inline data, expected a DICOM, PNG or JPEG file; set `path` in the cohort")
        return write_redacted(source, self.read, out, identity)

    def prepare(self, raw: Radiograph) -> Item:
        """Resize to square pixels with a longer side of ``size``, standardise, and pad with the mean to a square."""
        top, bottom, left, right = placement(raw, self.size)
        # Pillow averages over the covered area, in one thread, as many loader processes run at once.
        small = Image.fromarray(raw.pixels).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        image = np.asarray(small, dtype=np.float32)
        square = np.zeros((1, self.size, self.size), dtype=np.float32)
        square[0, top:bottom, left:right] = (image - image.mean()) / max(float(image.std()), 1e-4)
        return {"image": torch.from_numpy(square)}

    def baseline(self) -> BaselineFeatures:
        """Return histograms of gradients."""
        return BaselineFeatures(name="histograms of gradients", learn=lambda raws: self._gradient_histograms)

    def fixed_features(self) -> FixedFeatures:
        """Build histograms of gradients."""
        return GradientFeatures()

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Rotate, shift and zoom, change the contrast and add noise; images are never mirrored."""
        angle, zoom = math.radians(rng.uniform(-self.rotation, self.rotation)), rng.uniform(-self.zoom, self.zoom)
        shift = rng.uniform(-self.shift, self.shift, size=2)
        contrast = rng.uniform(1 - self.contrast, 1 + self.contrast)
        noise = rng.standard_normal((1, self.size, self.size), dtype=np.float32)
        image = moved(item["image"], angle=angle, scale=1 + zoom, shift=shift)
        image = image * contrast
        if self.transforms:
            image = self._varied(image, rng)
        return {"image": image + torch.from_numpy(noise) * self.noise}

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw the image in grey."""
        draw_image(study["image"][0].numpy(), axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw the image in grey under the relevance of its patches, for any encoder with a square grid of patches."""
        self.draw(study, axes)
        draw_heat(relevance, self.size, axes)

    def view(self, raw: Radiograph) -> Picture:
        """Draw the image in the square that the encoder sees, with the applied window in the caption."""
        return view_radiograph(raw, size=self.size)

    def locate(self, raw: Radiograph, item: Item, relevance: Float[Tensor, " T"]) -> OnPicture:
        """Place the relevance of patches on the view, for any encoder with a square grid of patches."""
        return OnPicture(strength=patch_grid(relevance))

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write a PNG in deviations of the image, whose comment states that it is synthetic."""
        return write_image(study["image"][0].numpy(), path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write a synthetic frontal chest radiograph as DICOM."""
        return write_phantom(physiology, rng, path.with_suffix(".dcm"))

    def default_encoder(self, size: str) -> Encoder:
        """Build the shared transformer over image patches."""
        trunk = Transformer.of_size(size)
        tokenizer = PatchTokenizer(
            size=self.size,
            patch=self.patch,
            width=trunk.width,
            stem=self.stem,
            normalised_targets=self.normalised_targets,
        )
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    def _gradient_histograms(self, raws: Sequence[Radiograph]) -> Float[np.ndarray, "N F"]:
        return np.stack([gradient_histograms(self.prepare(raw)["image"][0].numpy()) for raw in raws])
