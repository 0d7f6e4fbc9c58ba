"""The contract of modality plugins, and the lookup of those that are installed."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from polyclinic.modality.issues import Issue
from polyclinic.modality.physiology import Physiology
from polyclinic.modality.views import Located, View
from polyclinic.nn.encoder import Encoder
from polyclinic.privacy.identity import Identity

ENTRY_POINTS = "polyclinic.modalities"

HEAT = "#D55E00"
"""Colour of relevance, distinct from grey and from the blue of signals with any colour vision."""


@dataclass(frozen=True)
class ArrayRow:
    """A row of an array file that holds many studies."""

    file: Path
    row: int


Source: TypeAlias = Path | ArrayRow | str | Mapping[str, str]
"""Location of one modality of one study: a file, a row of an array file, inline text, or cohort cells by column."""

Item: TypeAlias = dict[str, Tensor]
"""Prepared tensors of one study, without a batch dimension."""


class UnreadableSource(ValueError):
    """Raised for a source that cannot be decoded. The message names no path and no patient."""


class Modality(ABC):
    """A kind of hospital data, from the stored file to an encoder.

    A study goes through ``read``, ``prepare``, ``augment`` (in training only) and ``collate``. ``read`` and
    ``prepare`` are deterministic, so that their results can be cached; all randomness is in ``augment``. Every
    constructor argument is stored as an attribute of the same name.

    Attributes:
        suffixes: file name endings in lower case with the dot, "" for names without one. A file that is dropped on the
            service page without a modality is offered to the plugins with a matching ending; a file name decides
            nothing else.
        encoders: full paths of further encoders in the plugin's package that a bundle or a checkpoint may name. Those
            that the top-level package exports need not be listed.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    encoders: ClassVar[tuple[str, ...]] = ()

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
        if isinstance(source, ArrayRow):
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

    def notes(self, raw: Any) -> tuple[str, ...]:
        """Return sentences that a reader of the score of a decoded source must know, such as what was not used."""
        return ()

    @abstractmethod
    def describe(self, raw: Any) -> Mapping[str, float | str]:
        """Return facts about a decoded source (rate, bit depth, share of NaN, truncated or not).

        ``cohort check`` averages numbers and counts strings over a cohort. It may call this before ``fit``.
        """

    @abstractmethod
    def fit(self, raws: Iterable[Any]) -> None:
        """Fit the plugin's statistics on the readable sources of the training split.

        A plugin without statistics does not iterate over ``raws``.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what ``fit`` learned as plain JSON values, which checkpoints and bundles store."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what another instance returned from ``state``."""

    @abstractmethod
    def prepare(self, raw: Any) -> Item:
        """Turn a decoded source into the tensors that the encoder reads, deterministically."""

    @abstractmethod
    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Return a randomly varied copy. All parameters are drawn from ``rng`` before any is applied."""

    @abstractmethod
    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Stack the items of the studies that have this modality, with padding where sizes differ."""

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


class Imputable(ABC):
    """Mixin of modalities whose predictions by a masked autoencoder can be drawn and written."""

    @abstractmethod
    def draw(self, study: Item, axes: Axes) -> None:
        """Draw one row of collated inputs; values that ``Reconstruction.hide`` blanked stay blank."""

    @abstractmethod
    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write one row of predicted inputs in the units of the modality, into a file that states it is synthetic.

        Args:
            study: a row of the result of ``Reconstruction.fill``.
            path: output path without a suffix, in an existing folder.
        """


class Explainable(ABC):
    """Mixin of modalities that can draw the relevance of their inputs to a score."""

    @abstractmethod
    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw one row of collated inputs and its relevance.

        Args:
            study: a row of the result of ``collate``.
            relevance: relevance of each token of an encoder of this modality, 0 or more, in any unit.
            axes: axes to draw on.

        Raises:
            ValueError: the number of tokens differs from the study's, or a value is negative or not finite.
        """


class Viewable(ABC):
    """Mixin of modalities whose studies, and their relevance to a score, can be shown on the service page.

    Attributes:
        title: display name of the modality; empty for its name in the configuration.
    """

    title: ClassVar[str] = ""

    @abstractmethod
    def view(self, raw: Any) -> View:
        """Show a decoded source as a clinician would want to see it, without anything of its header.

        Args:
            raw: a result of ``read``; the plugin may not be fitted yet.
        """

    @abstractmethod
    def locate(self, raw: Any, item: Item, relevance: Float[Tensor, " T"]) -> Located:
        """Map the relevance of tokens into the frame of ``view(raw)``.

        Args:
            raw: a result of ``read``.
            item: the result of ``prepare`` for it.
            relevance: relevance of each token of an encoder of this modality, 0 or more, in any unit.

        Raises:
            ValueError: the number of tokens differs from the study's, or a value is negative or not finite.
        """


class Inspectable(ABC):
    """Mixin of modalities whose sources ``cohort check`` inspects for issues."""

    @abstractmethod
    def issues(self, source: Source, raw: Any) -> Iterable[Issue]:
        """Find the issues of a decoded source.

        Args:
            source: a source that ``read`` accepted, for what decoding leaves out, such as a header.
            raw: the result of ``read`` for it.
        """

    def stored_as(self, source: Source) -> str:
        """Return the encoding of a source that ``read`` refuses, such as its transfer syntax; empty where unknown."""
        return ""

    def sample(self) -> int:
        """Return the number of decoded training sources that ``fit`` needs before ``describe`` is complete."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A de-identified source, with the number of removed or replaced values by kind.

    The source is a file, a text, or cells by column; of several files that belong together, the one that a cohort
    names.
    """

    source: Source
    removed: Mapping[str, int]


class Deidentifiable(ABC):
    """Mixin of modalities whose sources can be de-identified, so that they may leave the hospital."""

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
    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write a copy of a source without identifiers of its patient, which ``read`` decodes to the same values.

        Args:
            source: source of a study.
            out: output path without a suffix, in an existing folder; the name of every written file starts with it.
            identity: identity of the patient.
            suspects: whether to accept a source with suspected identifiers that cannot be removed.

        Raises:
            UnreadableSource: ``read`` refuses the source, or something that may name the patient cannot be removed.
        """


class Redactable(Deidentifiable):
    """Mixin of modalities whose images may hold burned-in text that can be blacked out."""

    @abstractmethod
    def redact(self, source: Source, out: Path, identity: Identity) -> Cleaned:
        """Write a de-identified copy with burned-in words blacked out, in which ``read`` finds none.

        For the arguments see ``deidentify``.

        Raises:
            UnreadableSource: ``read`` refuses the source, or something that may name the patient cannot be removed.
        """


def relative_relevance(relevance: Float[Tensor, " T"]) -> Float[np.ndarray, " T"]:
    """Scale relevance to the largest value, for drawing; zeros where no token has any.

    Raises:
        ValueError: the relevance of a token is negative or not finite.
    """
    values = relevance.detach().cpu().double().numpy()
    if wrong := int((~np.isfinite(values) | (values < 0)).sum()):
        raise ValueError(
            f"got {wrong} of {len(values)} tokens with a relevance that is negative or not finite, expected 0 or more; "
            "pass a row of the result of `token_relevance`"
        )
    return values / max(values.max(initial=0.0), np.finfo(np.float64).tiny)


def settings(modality: Modality) -> dict[str, Any]:
    """Return the constructor arguments of a plugin, by name."""
    return {name: getattr(modality, name) for name in inspect.signature(type(modality)).parameters}


def installed_modalities() -> dict[str, type[Modality]]:
    """Load every plugin registered under the entry-point group ``polyclinic.modalities``, by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name)}
