"""Capabilities of modality plugins beyond the contract, each found by the presence of its methods.

A plugin that defines ``view`` and ``locate`` is ``Viewable``, for example: ``isinstance`` looks for the names, and the
conformance tests check the behaviour.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from polyclinic.modality.contract import Item, Source
from polyclinic.modality.issues import Issue
from polyclinic.modality.views import Located, View
from polyclinic.nn import FixedFeatures
from polyclinic.privacy.identity import Identity

HEAT = "#D55E00"
"""Colour of relevance, distinct from grey and from the blue of signals with any colour vision."""


@runtime_checkable
class Imputable(Protocol):
    """Modality whose predictions by a masked autoencoder can be drawn and written."""

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw one row of collated inputs; values that ``Reconstruction.hide`` blanked stay blank."""

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write one row of predicted inputs in the units of the modality, into a file that states it is synthetic.

        Args:
            study: a row of the result of ``Reconstruction.fill``.
            path: output path without a suffix, in an existing folder.
        """


@runtime_checkable
class Explainable(Protocol):
    """Modality that can draw the relevance of its inputs to a score."""

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw one row of collated inputs and its relevance.

        Args:
            study: a row of the result of ``collate``.
            relevance: relevance of each token of an encoder of this modality, 0 or more, in any unit.
            axes: axes to draw on.

        Raises:
            ValueError: the number of tokens differs from the study's, or a value is negative or not finite.
        """


@runtime_checkable
class Viewable(Protocol):
    """Modality whose studies, and their relevance to a score, can be shown on the service page."""

    def view(self, raw: Any) -> View:
        """Show a decoded source as a clinician would want to see it, without anything of its header.

        Args:
            raw: a result of ``read``; the plugin may not be fitted yet.
        """

    def locate(self, raw: Any, item: Item, relevance: Float[Tensor, " T"]) -> Located:
        """Map the relevance of tokens into the frame of ``view(raw)``.

        Args:
            raw: a result of ``read``.
            item: the result of ``prepare`` for it.
            relevance: relevance of each token of an encoder of this modality, 0 or more, in any unit.

        Raises:
            ValueError: the number of tokens differs from the study's, or a value is negative or not finite.
        """


@runtime_checkable
class Inspectable(Protocol):
    """Modality whose sources ``cohort check`` inspects for issues."""

    def issues(self, source: Source, raw: Any) -> Iterable[Issue]:
        """Find the issues of a decoded source.

        Args:
            source: a source that ``read`` accepted, for what decoding leaves out, such as a header.
            raw: the result of ``read`` for it.
        """


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """Identifiers that the header of a file states; empty where it states none.

    Attributes:
        patient: patient id.
        study: identifier of the study that is unique everywhere, such as a DICOM Study Instance UID.
        accession: accession number.
        time: time of the acquisition or study, in ISO 8601; without a zone unless the file states one.
        preference: order among files of one study, of which a cohort takes the lowest, such as frontal before lateral.
    """

    patient: str = ""
    study: str = ""
    accession: str = ""
    time: str = ""
    preference: int = 0


@runtime_checkable
class Scannable(Protocol):
    """Modality that recognises its files by their header; ``cohort scan`` reads those of other modalities in full."""

    def recognise(self, path: Path) -> Recognised:
        """Read the header of a file.

        Raises:
            UnreadableSource: the file is broken, belongs to another modality, or states several patients.
        """


@runtime_checkable
class HasResults(Protocol):
    """Modality whose files may state results, such as those of an ECG cart, which ``cohort scan`` writes as columns."""

    def file_results(self, path: Path) -> Mapping[str, float | str]:
        """Return results by name, without what is absent; a text may name a person.

        Raises:
            UnreadableSource: the file cannot be decoded.
        """


@runtime_checkable
class Retrievable(Protocol):
    """Modality whose files can be retrieved from a DICOMweb server by ``cohort scan --dicomweb``.

    Attributes:
        dicom_modalities: values of Modality (0008,0060) of the series that it may read.
    """

    dicom_modalities: ClassVar[tuple[str, ...]]


@dataclass(frozen=True)
class IndexEntry:
    """File that the index of a medium lists.

    Attributes:
        parts: names of the folders below that of the index, and of the file; not checked.
        patient: patient id that the index states; empty where it states none.
        study: Study Instance UID that the index states.
    """

    parts: tuple[str, ...]
    patient: str
    study: str


@runtime_checkable
class Indexed(Protocol):
    """Modality that reads the index of a medium, such as a DICOMDIR, for ``cohort scan``."""

    def read_index(self, path: Path) -> Sequence[IndexEntry]:
        """Return the files that an index lists.

        Raises:
            UnreadableSource: the file is not an index, or is damaged.
        """


@dataclass(frozen=True, kw_only=True)
class BaselineFeatures:
    """Features of a modality for a simple model, against which trained models are measured.

    Attributes:
        name: name of the features, such as ``TF-IDF``.
        learn: function from decoded training sources to a function from N decoded sources to features [N, F], as an
            array or a sparse matrix. With ``trees``, NaN is a missing value.
        trees: whether the model is gradient boosting in place of a linear one.
    """

    name: str
    learn: Callable[[Sequence[Any]], Callable[[Sequence[Any]], Any]]
    trees: bool = False


@runtime_checkable
class HasBaseline(Protocol):
    """Modality with features for a simple model."""

    def baseline(self) -> BaselineFeatures:
        """Return the features; the plugin is fitted, and the sources are results of ``read``."""


@runtime_checkable
class HasFixedFeatures(Protocol):
    """Modality with features for the linear model that joins a supervised network."""

    def fixed_features(self) -> FixedFeatures:
        """Build the features of this modality's collated inputs, before anything is learned from studies."""


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A de-identified source, with the number of removed or replaced values by kind.

    The source is a file, a text, or cells by column; of several files that belong together, the one that a cohort
    names.
    """

    source: Source
    removed: Mapping[str, int]


@runtime_checkable
class Deidentifiable(Protocol):
    """Modality whose sources can be de-identified, so that they may leave the hospital."""

    def names(self, source: Source) -> Iterable[str]:
        """See ``Modality.names``."""

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


@runtime_checkable
class Redactable(Deidentifiable, Protocol):
    """Modality whose images may hold burned-in text that can be blacked out."""

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
