"""The volume plugin: CT and MR from DICOM series and NIfTI files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32
from matplotlib.axes import Axes
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
    Recognised,
    Source,
    UnreadableSource,
)
from polyclinic.nn import Encoder, FixedFeatures, Transformer, TransformerEncoder
from polyclinic_dicom.decoders import decoders_by_format
from polyclinic_monai.augment import DictionaryTransforms
from polyclinic_volume.adapt import adapted_grid, adapted_kind, checked_state, chosen
from polyclinic_volume.deidentify import series_names, write_clean_nifti, write_clean_series
from polyclinic_volume.drawing import draw_heat, draw_volume, locate_blocks, view_volume, write_imputed
from polyclinic_volume.features import VolumeFeatures, volume_features
from polyclinic_volume.issues import nifti_names, volume_issues
from polyclinic_volume.motion import moved
from polyclinic_volume.phantom import write_phantom
from polyclinic_volume.reading.extent import read_extent
from polyclinic_volume.reading.reader import is_nifti, read_volume
from polyclinic_volume.reading.sidecar import sidecar_of, write_sidecar
from polyclinic_volume.reading.slices import series_files
from polyclinic_volume.recognise import recognise_volume
from polyclinic_volume.resample import on_grid
from polyclinic_volume.tokens import BlockTokenizer, Sides
from polyclinic_volume.voxels import Kind, Voxels
from polyclinic_volume.windows import AIR, WINDOWS, channels_of, hounsfield, mr_range, outside_of, windowed

_SIZE, _SPACING = (64, 64, 64), (6.0, 6.0, 6.0)
"""Grid where neither a setting nor a cohort states one: 38 cm, which holds a chest."""

_NOT_A_FILE = "got inline data, expected a folder or file of a DICOM series, or a NIfTI file; set `path` in the cohort"


class Volume(Modality):
    """CT and MR volumes on a fixed grid along the axes of the patient: right, front, head (RAS).

    CT has one channel for each of three windows of Hounsfield units (lung, soft tissue, bone), MR one between two
    percentiles of the scan. Values are from -1 to 1. What a scan does not cover is air, or the lowest value of MR.

    Args:
        kind: ``ct`` or ``mr``; scans of the other kind are refused. Unless set, ``adapt`` takes that of the DICOM
            headers, or of the JSON files (key ``Modality``) that converters write beside NIfTI. NIfTI without one is
            refused while the kind is not known.
        size: voxels to the right, the front and the head; multiples of ``patch``. Unless set, ``adapt`` covers the
            median training scan. It is 64, 64, 64 until then.
        spacing: distance between voxels in mm along the same axes; unless set, ``adapt`` takes one that covers the
            median training scan with at most 512 cubes. It is 6 mm until then.
        patch: side of the cubes of the default encoder in voxels.
        rotation: largest augmentation angle about each axis in degrees.
        shift: largest augmentation shift, as a share of a side.
        zoom: largest relative change of scale in augmentation.
        contrast: largest relative change of contrast in augmentation.
        noise: standard deviation of added noise.
        transforms: further augmentations: arguments of random dictionary transforms of MONAI, by name, without
            ``keys``; see ``polyclinic_monai.augment.TRANSFORMS``.
        normalised_targets: standardise each cube of the target in masked pretraining; a missing scan can then not be
            imputed.

    Raises:
        ValueError: ``patch`` does not divide ``size``, a length is not positive, or a transform is unknown.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".nii", ".nii.gz", ".dcm", "")
    title: ClassVar[str] = "CT and MR"
    encoders: ClassVar[tuple[str, ...]] = ("polyclinic_volume.monai_encoder.MonaiEncoder",)
    in_phantom: ClassVar[bool] = False
    dicom_modalities: ClassVar[tuple[str, ...]] = ("CT", "MR")

    def __init__(
        self,
        *,
        kind: Kind | None = None,
        size: tuple[int, int, int] | None = None,
        spacing: tuple[float, float, float] | None = None,
        patch: int = 8,
        rotation: float = 5.0,
        shift: float = 0.05,
        zoom: float = 0.08,
        contrast: float = 0.1,
        noise: float = 0.05,
        transforms: dict[str, dict[str, Any]] | None = None,
        normalised_targets: bool = True,
    ) -> None:
        if kind not in (None, "ct", "mr"):
            raise ValueError(f"got kind {kind!r}, expected 'ct' or 'mr'; set `kind`")
        given: dict[str, Any] = {"kind": kind, "size": size, "spacing": spacing}
        self._unset = [name for name, value in given.items() if value is None]
        self._learned: dict[str, Any] = {}
        self.kind, self.patch = kind, patch
        self.size: Sides = _SIZE if size is None else (size[0], size[1], size[2])
        self.spacing = _SPACING if spacing is None else (spacing[0], spacing[1], spacing[2])
        if patch <= 0 or any(side <= 0 or side % patch for side in self.size):
            raise ValueError(f"got size {self.size} with patch {patch}; sides must be positive multiples of `patch`")
        if not all(0 < step < math.inf for step in self.spacing):
            raise ValueError(f"got spacing {self.spacing}; expected positive numbers of mm, set `spacing`")
        self.rotation, self.shift, self.zoom = rotation, shift, zoom
        self.contrast, self.noise, self.transforms = contrast, noise, transforms
        self.normalised_targets = normalised_targets
        self._varied = DictionaryTransforms(transforms or {})

    @classmethod
    def decoders(cls) -> dict[str, tuple[str, str]]:
        """Return the decoder of each transfer syntax, and of NIfTI; see ``Modality.decoders``."""
        return decoders_by_format()

    def adapt(self, sources: Sequence[Source]) -> dict[str, str]:
        """Derive ``kind``, ``size`` and ``spacing``, where they are not set, from headers spread over a cohort.

        Raises:
            ValueError: the headers state CT and MR.
        """
        files = [source for source in sources if isinstance(source, Path)] if self._unset else []
        extents = [extent for file in chosen(files) if (extent := read_extent(file)) is not None]
        if extents:
            learned: dict[str, Any] = adapted_kind(extents) if "kind" in self._unset else {}
            fixed = {name: getattr(self, name) for name in ("size", "spacing") if name not in self._unset}
            self._learn(learned | adapted_grid(extents, patch=self.patch, **fixed))
        return {}

    def adapted(self) -> Mapping[str, str]:
        """Return the kind and the grid that ``adapt`` derived."""
        units = {"kind": "", "size": " voxels", "spacing": " mm"}
        return {name: _shown(value) + units[name] for name, value in self._learned.items()}

    def fit(self, raws: Iterable[Voxels]) -> None:
        """Read nothing: ``adapt`` derives what ``state`` keeps."""

    def state(self) -> dict[str, Any]:
        """Return what ``adapt`` derived; empty if everything is set, or before."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._learned.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``adapt`` derived, where it is not set.

        Raises:
            ValueError: a value is not one that ``adapt`` derives.
        """
        self._learn(checked_state(state, patch=self.patch))

    def read(self, source: Source) -> Voxels:
        """Decode a DICOM series or a NIfTI file to Hounsfield units, or to the units of an MR scanner."""
        if not isinstance(source, Path):
            raise UnreadableSource(_NOT_A_FILE)
        return read_volume(source, kind=self.kind)

    def files(self, source: Source) -> tuple[Path, ...]:
        """Return a NIfTI file after the JSON file beside it, or all files of a series by name."""
        if not isinstance(source, Path):
            return super().files(source)
        try:
            if not source.is_dir() and is_nifti(source):
                sidecar = sidecar_of(source)
                return (sidecar, source) if sidecar.is_file() else (source,)
            return tuple(each.path for each in series_files(source).slices)
        except UnreadableSource:
            return (source,)

    def recognise(self, path: Path) -> Recognised:
        """Read the header of a slice of CT or MR, or of a NIfTI file."""
        return recognise_volume(path)

    def describe(self, raw: Voxels) -> Mapping[str, float | str]:
        """Return format, kind, sides, spacing and obliqueness."""
        axes = np.abs(raw.affine[:3, :3] / raw.spacing).max(axis=0)
        facts: dict[str, float | str] = {"kind": raw.kind, "oblique_degrees": float(np.degrees(np.arccos(axes.min())))}
        for name, side, step in zip(("right", "front", "head"), raw.values.shape, raw.spacing, strict=True):
            facts |= {f"voxels_{name}": float(side), f"mm_{name}": float(step)}
        return {**raw.facts, **facts}

    def issues(self, source: Source, raw: Voxels) -> Iterable[Issue]:
        """Report identifiers in headers, faces, few or thick slices, and doubts about the geometry."""
        return volume_issues(source, raw)

    def names(self, source: Source) -> Iterable[str]:
        """Return names and numbers in the header of a series, or in the texts of a NIfTI header."""
        if not isinstance(source, Path):
            return ()
        return nifti_names(source) if not source.is_dir() and is_nifti(source) else series_names(source)

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write slices with the listed elements only, or NIfTI without texts; faces in scans of the head remain."""
        raw = self.read(source)
        assert isinstance(source, Path), "read accepts paths only"
        if raw.facts["format"] == "dicom":
            cleaned = write_clean_series(source, out, identity, suspects=suspects)
        else:
            cleaned = write_clean_nifti(source, out)
            assert isinstance(cleaned.source, Path), "NIfTI is written to a file"
            write_sidecar(cleaned.source, raw.kind)
        again = self.read(cleaned.source)
        if not (np.array_equal(again.values, raw.values) and np.allclose(again.affine, raw.affine, atol=1e-3)):
            raise UnreadableSource(
                "its voxels depend on a header value that de-identification removes, such as a number out of range"
            )
        return cleaned

    def prepare(self, raw: Voxels) -> Item:
        """Resample to the grid and scale each channel to -1 to 1.

        Raises:
            ValueError: the scan is of another kind than ``kind``.
        """
        if self.kind is not None and raw.kind != self.kind:
            raise ValueError(f"got a scan of kind {raw.kind!r}, expected {self.kind!r}; set `kind`")
        values = self._on_grid(raw)
        windows = WINDOWS.values() if raw.kind == "ct" else (mr_range(raw),)
        channels = np.stack([2 * windowed(values, window) - 1 for window in windows])
        return {"volume": torch.from_numpy(channels)}

    def baseline(self) -> BaselineFeatures:
        """Return histograms and coarse means."""
        return BaselineFeatures(name="histograms and coarse voxels", learn=lambda raws: self._features)

    def fixed_features(self) -> FixedFeatures:
        """Build histograms and coarse means."""
        return VolumeFeatures(channels=self.channels)

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Rotate, shift and zoom, change the contrast and add noise; volumes are never mirrored."""
        angles = np.radians(rng.uniform(-self.rotation, self.rotation, size=3))
        zoom, shift = rng.uniform(-self.zoom, self.zoom), rng.uniform(-self.shift, self.shift, size=3)
        contrast = rng.uniform(1 - self.contrast, 1 + self.contrast)
        noise = torch.from_numpy(rng.standard_normal(tuple(item["volume"].shape), dtype=np.float32))
        volume = moved(item["volume"], angles=angles, scale=1 + zoom, shift=shift) * contrast
        if self.transforms:
            volume = self._varied(volume, rng)
        return {"volume": volume + noise * self.noise}

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw the middle slices in grey."""
        draw_volume(study["volume"], axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw the middle slices in grey under the largest relevance along each line of sight."""
        self.draw(study, axes)
        draw_heat(relevance, size=self.size, patch=self.patch, axes=axes)

    def view(self, raw: Voxels) -> Picture:
        """Draw the middle axial, coronal and sagittal slice of the grid that the encoder sees."""
        return view_volume(raw, size=self.size, spacing=self.spacing)

    def locate(self, raw: Voxels, item: Item, relevance: Float[Tensor, " T"]) -> OnPicture:
        """Place the largest relevance along each line of sight on the slices of the view."""
        return locate_blocks(relevance, size=self.size, patch=self.patch)

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write NIfTI in Hounsfield units, or in shares of the percentiles of MR, which states that it is synthetic."""
        channels = study["volume"].numpy().clip(-1, 1)
        if len(channels) == len(WINDOWS):
            values, unit = hounsfield(channels), "HU"
        else:
            values, unit = (channels[0] + 1) / 2, "MR"
        return write_imputed(values.astype(np.float32), spacing=self.spacing, unit=unit, path=path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write a synthetic CT of the chest as NIfTI, and a JSON file beside it that states the kind."""
        return write_phantom(physiology, rng, path)

    def default_encoder(self, size: str) -> Encoder:
        """Build the shared transformer over cubes of voxels."""
        trunk = Transformer.of_size(size)
        tokenizer = BlockTokenizer(
            channels=self.channels,
            size=self.size,
            patch=self.patch,
            width=trunk.width,
            normalised_targets=self.normalised_targets,
        )
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    @property
    def channels(self) -> int:
        """Number of channels of an item; those of CT while the kind is not known."""
        return len(channels_of(self.kind or "ct"))

    def _learn(self, values: Mapping[str, Any]) -> None:
        """Take over values of the settings that are not set; a missing one gets its default."""
        self._learned = {name: values[name] for name in self._unset if name in values}
        if "kind" in self._unset:
            self.kind = values.get("kind")
        if "size" in self._unset:
            self.size = values.get("size", _SIZE)
        if "spacing" in self._unset:
            self.spacing = values.get("spacing", _SPACING)

    def _on_grid(self, raw: Voxels) -> Float32[np.ndarray, "X Y Z"]:
        values = raw.values
        if raw.kind == "ct" and float(values.min()) < AIR:
            raw = Voxels(np.maximum(values, np.float32(AIR)), raw.affine, raw.kind, raw.facts)
        return on_grid(raw, shape=self.size, spacing=self.spacing, outside=outside_of(raw))

    def _features(self, raws: Sequence[Voxels]) -> Float[np.ndarray, "N F"]:
        volumes = torch.stack([self.prepare(raw)["volume"] for raw in raws])
        return volume_features(volumes).numpy()


def _shown(value: str | Sequence[float]) -> str:
    return value if isinstance(value, str) else " x ".join(f"{each:g}" for each in value)
