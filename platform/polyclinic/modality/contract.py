"""The contract of modality plugins, and the lookup of those that are installed."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from polyclinic.modality.physiology import Physiology
from polyclinic.nn.encoder import Encoder

ENTRY_POINTS = "polyclinic.modalities"


@dataclass(frozen=True)
class ArrayRow:
    """A row of an array file that holds many studies."""

    file: Path
    row: int


@dataclass(frozen=True)
class EventWindow:
    """Events of one subject in a time window, in a Parquet file of a MEDS dataset; ``read_events`` reads them.

    Attributes:
        file: file with all events of the subject.
        subject: MEDS id of the subject.
        start: first time of the window, inclusive, without a zone as all times of MEDS.
        end: last time of the window, inclusive.
        anchor: time that the window lies around, such as that of the study.
        codes: codes of the events; empty for all.
    """

    file: Path
    subject: int
    start: datetime
    end: datetime
    anchor: datetime
    codes: tuple[str, ...] = ()

    def key(self) -> str:
        """Return what distinguishes windows of one file."""
        times = (time.isoformat() for time in (self.start, self.end, self.anchor))
        return repr((self.subject, *times, self.codes))


Source: TypeAlias = Path | ArrayRow | EventWindow | str | Mapping[str, str]
"""Location of one modality of one study: a file or a folder, a row of an array file, a window of events, inline text,
or cohort cells by column."""

Item: TypeAlias = dict[str, Tensor]
"""Prepared tensors of one study, without a batch dimension."""


class UnreadableSource(ValueError):
    """Raised for a source that cannot be decoded. The message names no path and no patient."""


class Modality(ABC):
    """A kind of hospital data, from the stored file to an encoder.

    A study goes through ``read``, ``prepare``, ``augment`` (in training only) and ``collate``. ``read`` and
    ``prepare`` are deterministic, so that their results can be cached; all randomness is in ``augment``. Every
    constructor argument is stored as an attribute of the same name.

    Further capabilities are found by the presence of their methods, without another base class: see ``Imputable``,
    ``Explainable``, ``Viewable``, ``Inspectable``, ``Scannable``, ``Retrievable``, ``Indexed``, ``Reportable``,
    ``Deidentifiable`` and ``Redactable``.

    Attributes:
        title: display name on the service page; empty for the modality's name in the configuration.
        suffixes: file name endings in lower case with the dot, "" for names without one. A file that is dropped on the
            service page without a modality is offered to the plugins with a matching ending; a file name decides
            nothing else.
        in_phantom: whether a phantom cohort has this modality unless its modalities are named. The plugins of the first
            releases are; a later one must not change the studies that published figures were measured on.
        encoders: full paths of further encoders in the plugin's package that a bundle or a checkpoint may name. Those
            that the top-level package exports need not be listed.
    """

    title: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    in_phantom: ClassVar[bool] = True
    encoders: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Refuse a class that fits statistics which checkpoints would not store."""
        super().__init_subclass__()
        own = {name for name in ("fit", "state", "load_state") if getattr(cls, name) is not getattr(Modality, name)}
        if 0 < len(own) < 3:
            raise TypeError(
                f"{cls.__name__} defines {' and '.join(sorted(own))}, expected all of fit, state and load_state or none"
            )

    @classmethod
    def upgraded(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return settings from a checkpoint or bundle of an earlier release under their present names.

        A plugin that renames a setting overrides this; values are not checked yet.
        """
        return settings

    @abstractmethod
    def read(self, source: Source) -> Any:
        """Decode a source, in physical units and at its original size.

        Raises:
            UnreadableSource: the source is broken, truncated or of a kind that this plugin does not read.
                Nothing is ever guessed or replaced by zeros.
        """

    def files(self, source: Source) -> tuple[Path, ...]:
        """Return every file that ``read`` opens for a source, the one with the measurement last; none for inline data.

        Fingerprints hash the content of these files, so a plugin whose sources have companion files lists them too.
        """
        if isinstance(source, ArrayRow | EventWindow):
            return (source.file,)
        return (source,) if isinstance(source, Path) else ()

    @classmethod
    def decoders(cls) -> dict[str, tuple[str, str]]:
        """List the decoder of each stored format, for ``polyclinic doctor``.

        Returns:
            By format, the distribution that decodes it, and the version and licence that are installed, as one string
            that is empty where it is not installed. Empty where the plugin needs no further package.
        """
        return {}

    def adapt(self, sources: Sequence[Source]) -> dict[str, str]:
        """Derive settings that were not given from a cohort, before anything is read or fitted.

        Args:
            sources: sources of the training studies.

        Returns:
            Parts of a source that the plugin leaves out, such as columns, each with the reason; empty by default.
        """
        return {}

    def adapted(self) -> Mapping[str, str]:
        """Return what ``adapt`` has derived from the cohort, by setting, for a user to read; empty by default."""
        return {}

    def notes(self, raw: Any) -> tuple[str, ...]:
        """Return sentences that a reader of the score of a decoded source must know, such as what was not used."""
        return ()

    def stored_as(self, source: Source) -> str:
        """Return the encoding of a source that ``read`` refuses, such as its transfer syntax; empty where unknown."""
        return ""

    def sample(self) -> int:
        """Return the number of decoded training sources that ``fit`` needs before ``describe`` is complete."""
        return 0

    def names(self, source: Source) -> Iterable[str]:
        """Return the names and numbers of the patient in a source, to be removed from the patient's other sources."""
        return ()

    def use_name_tagger(self, folder: Path) -> bool:
        """Also find names in running text with a local token classifier; return whether the plugin reads text.

        Raises:
            ValueError: the folder does not hold such a model.
        """
        return False

    @abstractmethod
    def describe(self, raw: Any) -> Mapping[str, float | str]:
        """Return facts about a decoded source (rate, bit depth, share of NaN, truncated or not).

        ``cohort check`` averages numbers and counts strings over a cohort. It may call this before ``fit``.
        """

    def fit(self, raws: Iterable[Any]) -> None:  # noqa: B027 - a default
        """Fit the plugin's statistics on the readable sources of the training split.

        A plugin without statistics defines neither this nor ``state`` and ``load_state``: by default ``raws`` are not
        iterated over, and the state is empty.
        """

    def state(self) -> dict[str, Any]:
        """Return what ``fit`` learned as plain JSON values, which checkpoints and bundles store."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - a default
        """Restore what another instance returned from ``state``."""

    @abstractmethod
    def prepare(self, raw: Any) -> Item:
        """Turn a decoded source into the tensors that the encoder reads, deterministically."""

    @abstractmethod
    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Return a randomly varied copy. All parameters are drawn from ``rng`` before any is applied."""

    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Join the items of the studies that have this modality into one batch.

        By default, each tensor is stacked to [B, ...]; a plugin whose sizes differ between studies pads here.
        """
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}

    @abstractmethod
    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write a synthetic study in the native format of this modality.

        Args:
            physiology: latent patient to render.
            rng: generator of everything that the physiology leaves open (noise, posture, wording).
            path: output path without a suffix, in an existing folder.

        Returns:
            The file that a cohort names as the source.
        """

    @abstractmethod
    def default_encoder(self, size: str) -> Encoder:
        """Build the shared transformer over this modality's tokens; ``size`` is a key of ``nn.SIZES``."""

    def portable(self) -> dict[str, Any]:
        """Return constructor arguments, as plain JSON, that with ``state`` rebuild the plugin without any other file.

        A plugin with a setting that names a file stores its content in ``state`` and leaves the setting out here.
        """
        return settings(self)


def settings(modality: Modality) -> dict[str, Any]:
    """Return the constructor arguments of a plugin, by name."""
    return {name: getattr(modality, name) for name in inspect.signature(type(modality)).parameters}


def installed_modalities() -> dict[str, type[Modality]]:
    """Load every plugin registered under the entry-point group ``polyclinic.modalities``, by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name)}
