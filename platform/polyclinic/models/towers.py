"""The towers of a model: one encoder per modality, with its projection to a shared width."""

from collections.abc import Mapping

from polyclinic.modality import HasFixedFeatures, Modality
from polyclinic.nn import Encoder, IdentityHead, LinearPath, Projection


def build_encoders(
    modalities: Mapping[str, Modality], *, size: str, given: Mapping[str, Encoder] | None
) -> dict[str, Encoder]:
    """Return the given encoders, and default encoders of a size for the other modalities.

    Raises:
        ValueError: an encoder is given for a modality that is not configured.
    """
    given = given or {}
    if unknown := [name for name in given if name not in modalities]:
        raise ValueError(f"`model.encoders` names {unknown[0]!r}, which is not in `data.modalities` {list(modalities)}")
    return {
        name: given[name] if name in given else modality.default_encoder(size) for name, modality in modalities.items()
    }


def build_heads(
    encoders: Mapping[str, Encoder], *, embedding: int | None, hidden: int, neutral: float
) -> dict[str, Projection | IdentityHead]:
    """Build the projection of each encoder to a shared width, or identity heads if ``embedding`` is None.

    Raises:
        ValueError: ``embedding`` is None, and the encoders differ in width or ``hidden`` is set.
    """
    widths = {name: encoder.width for name, encoder in encoders.items()}
    if embedding is not None:
        return {
            name: Projection(width=width, embedding=embedding, hidden=hidden, neutral=neutral)
            for name, width in widths.items()
        }
    if len(set(widths.values())) > 1 or hidden:
        raise ValueError(
            f"got embedding null with encoders of width {widths} and hidden {hidden}, expected one width for all and "
            "hidden 0; set `model.embedding`, or the widths of `model.encoders`"
        )
    return {name: IdentityHead(width) for name, width in widths.items()}


def build_linear_path(modalities: Mapping[str, Modality], outputs: int) -> LinearPath | None:
    """Build the linear model on the fixed features of the modalities; None if no modality has them."""
    features = {
        name: modality.fixed_features() for name, modality in modalities.items()
        if isinstance(modality, HasFixedFeatures)
    }  # fmt: skip
    return LinearPath(features, outputs) if features else None
