"""The contract a modality plugin fulfils, and how installed plugins are found."""

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
"""The colour of relevance, on grey and on the blue of signals told apart with any colour vision."""


@dataclass(frozen=True)
class ArrayRow:
    """One row of an array file that holds many studies."""

    file: Path
    row: int


Source: TypeAlias = Path | ArrayRow | str | Mapping[str, str]
"""Where one study keeps one modality: a file, a row of one, inline text, or cells of the cohort's table by column."""

Item: TypeAlias = dict[str, Tensor]
"""One study's prepared tensors, without a batch dimension."""


class UnreadableSource(ValueError):
    """A source that cannot be decoded. The message names no path and no patient."""


class Modality(ABC):
    """One kind of hospital data, from the stored file to an encoder.

    A study goes through ``read``, ``prepare``, while training ``augment``, and ``collate``. ``read`` and
    ``prepare`` are deterministic, so that what they return can be stored; everything random is in ``augment``.
    Every constructor argument is kept as an attribute of the same name.

    Attributes:
        suffixes: how names of its files end, in small letters with the dot, "" for names without any; what is dropped
            on the page without a word is offered to the plugins whose endings fit. Nothing else is decided by a name.
        encoders: full paths of further encoders in the plugin's package that a bundle or a checkpoint may name. Those
            that the top-level package exports need not be listed.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    encoders: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, source: Source) -> Any:
        """Decode what the hospital stored, in physical units and at its own size.

        Raises:
            UnreadableSource: the source is broken, truncated or of a kind this plugin does not read.
                Nothing is ever guessed or replaced by zeros.
        """

    def files(self, source: Source) -> tuple[Path, ...]:
        """Every file that ``read`` opens for a source, the one that holds the measurement last; none for inline data.

        What a study holds is known by the content of these files, so a plugin whose sources have companions names them.
        """
        if isinstance(source, ArrayRow):
            return (source.file,)
        return (source,) if isinstance(source, Path) else ()

    @classmethod
    def decoders(cls) -> dict[str, tuple[str, str]]:
        """What decodes each stored format, for ``polyclinic doctor``.

        Returns:
            By format, the distribution that decodes it, and its version and licence here; the second is empty where
            it is not installed. Nothing at all where a plugin needs no package but its own.
        """
        return {}

    def adapt(self, sources: Sequence[Source]) -> dict[str, str]:
        """Choose settings that were left out from what a cohort holds, before anything is read or fitted.

        Args:
            sources: of the training studies.

        Returns:
            What the plugin leaves out of a source, such as a column, each with the reason; nothing by default.
        """
        return {}

    def notes(self, raw: Any) -> tuple[str, ...]:
        """Sentences about one decoded source that whoever reads its score must know, such as what was not used."""
        return ()

    @abstractmethod
    def describe(self, raw: Any) -> Mapping[str, float | str]:
        """Facts about one decoded source (rate, bit depth, share of NaN, truncated or not).

        Numbers are averaged and strings counted over a cohort, in ``cohort check``, which asks before ``fit`` too.
        """

    @abstractmethod
    def fit(self, raws: Iterable[Any]) -> None:
        """Learn what must be learned from the readable sources of the training split.

        A plugin with nothing to learn leaves ``raws`` unread.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What ``fit`` learned, as plain JSON values; it travels in checkpoints and bundles."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what another instance returned from ``state``."""

    @abstractmethod
    def prepare(self, raw: Any) -> Item:
        """Turn a decoded source into the tensors that the encoder reads, deterministically."""

    @abstractmethod
    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Return a randomly varied copy; draws every parameter from ``rng`` first, then applies them."""

    @abstractmethod
    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Stack, padding where sizes differ, the items of the studies that have this modality."""

    @abstractmethod
    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write one synthetic study in this modality's native format.

        Args:
            physiology: the latent patient to render.
            rng: source of everything the physiology leaves open (noise, posture, wording).
            path: where to write, without a suffix; its folder exists.

        Returns:
            The file that a cohort names as the source.
        """

    @abstractmethod
    def default_encoder(self, size: str) -> Encoder:
        """Build the shared transformer over this modality's tokens; ``size`` is a key of ``nn.SIZES``."""

    def portable(self) -> dict[str, Any]:
        """Constructor arguments, as plain JSON, that with ``state`` make the same plugin where no other file is.

        A plugin with a setting that names a file puts what it read there into ``state``, and leaves it out here.
        """
        return settings(self)


class Imputable(ABC):
    """What a modality adds so that what a masked autoencoder filled in can be looked at and kept."""

    @abstractmethod
    def draw(self, study: Item, axes: Axes) -> None:
        """Draw one row of collated inputs; what ``Reconstruction.hide`` made blank stays blank."""

    @abstractmethod
    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write one row of predicted inputs in the modality's own units; the file says inside that it is synthetic.

        Args:
            study: a row of what ``Reconstruction.fill`` gave.
            path: where to write, without a suffix; its folder exists.
        """


class Explainable(ABC):
    """What a modality adds so that people can look at what a score comes from."""

    @abstractmethod
    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw one row of collated inputs, and where its relevance lies.

        Args:
            study: a row of what ``collate`` gave.
            relevance: of the tokens that an encoder of this modality makes of it, 0 or more, in any unit.
            axes: to draw on.

        Raises:
            ValueError: another number of tokens than the study has, or one that is negative or not finite.
        """


class Viewable(ABC):
    """What a modality adds so that a page can show its studies, and where a score comes from.

    Attributes:
        title: what people call the modality; empty for its name in the configuration.
    """

    title: ClassVar[str] = ""

    @abstractmethod
    def view(self, raw: Any) -> View:
        """Show a decoded source as a person would want to see it, with nothing of its header.

        Args:
            raw: what ``read`` gave; asked before ``fit`` too.
        """

    @abstractmethod
    def locate(self, raw: Any, item: Item, relevance: Float[Tensor, " T"]) -> Located:
        """Bring the relevance of tokens into the frame of ``view(raw)``.

        Args:
            raw: what ``read`` gave.
            item: what ``prepare`` made of it.
            relevance: of the tokens that an encoder of this modality makes of the item, 0 or more, in any unit.

        Raises:
            ValueError: another number of tokens than the study has, or one that is negative or not finite.
        """


class Inspectable(ABC):
    """What a modality adds so that ``cohort check`` says more of its sources than their facts."""

    @abstractmethod
    def issues(self, source: Source, raw: Any) -> Iterable[Issue]:
        """Look a decoded source over.

        Args:
            source: which ``read`` accepted, to look at what decoding leaves out, such as a header.
            raw: what ``read`` made of it.
        """

    def stored_as(self, source: Source) -> str:
        """How a source that ``read`` refuses is encoded, such as its transfer syntax; empty where nothing tells."""
        return ""

    def sample(self) -> int:
        """How many decoded training sources ``fit`` needs before ``describe`` can tell everything."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A source without what names its patient, and how much was removed or exchanged, by kind.

    A file, a text, or cells by column; of a file that ``read`` needs beside others, the one that a cohort names.
    """

    source: Source
    removed: Mapping[str, int]


class Deidentifiable(ABC):
    """What a modality adds so that its sources can leave the hospital."""

    def names(self, source: Source) -> Iterable[str]:
        """Names and numbers by which a source calls its patient, to be looked for in other sources of that patient."""
        return ()

    def use_name_tagger(self, folder: Path) -> bool:
        """Find names in running text by a local token classifier as well, from now on; whether the plugin reads text.

        Raises:
            ValueError: the folder does not hold such a model.
        """
        return False

    @abstractmethod
    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Write a source anew without what names its patient; ``read`` decodes what was written to the same values.

        Args:
            source: of a study.
            out: where to write, without a suffix; its folder exists. No file gets a name that does not start like it.
            identity: of the patient.
            suspects: whether to let pass what cannot be removed and only seems to name somebody.

        Raises:
            UnreadableSource: ``read`` refuses the source, or something that may name the patient cannot be removed.
        """


class Redactable(Deidentifiable):
    """What a modality adds whose sources may hold words that are drawn in an image, and that can be blacked out."""

    @abstractmethod
    def redact(self, source: Source, out: Path, identity: Identity) -> Cleaned:
        """Write what ``deidentify`` writes, with the words that are found blacked out; ``read`` finds none afterwards.

        For arguments see ``deidentify``.

        Raises:
            UnreadableSource: ``read`` refuses the source, or something that may name the patient cannot be removed.
        """


def relative_relevance(relevance: Float[Tensor, " T"]) -> Float[np.ndarray, " T"]:
    """Relevance as a share of the largest, for drawing; zeros where no token has any.

    Raises:
        ValueError: a token's relevance is negative or not finite.
    """
    values = relevance.detach().cpu().double().numpy()
    if wrong := int((~np.isfinite(values) | (values < 0)).sum()):
        raise ValueError(
            f"got {wrong} of {len(values)} tokens with a relevance that is negative or not finite, expected 0 or more; "
            "give a row of what `token_relevance` returned"
        )
    return values / max(values.max(initial=0.0), np.finfo(np.float64).tiny)


def settings(modality: Modality) -> dict[str, Any]:
    """The constructor arguments that a plugin was built with, by name."""
    return {name: getattr(modality, name) for name in inspect.signature(type(modality)).parameters}


def installed_modalities() -> dict[str, type[Modality]]:
    """Load every plugin registered under the entry-point group ``polyclinic.modalities``, by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name)}
