"""One encoder per modality, and embeddings aligned with the studies of a batch."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polyclinic.data import Batch
from polyclinic.modality import Modality
from polyclinic.nn import Encoder, MaskableEncoder, Projection, Unprojected


def build_encoders(
    modalities: Mapping[str, Modality], *, size: str, given: Mapping[str, Encoder] | None
) -> dict[str, Encoder]:
    """The encoders given, and each other modality's default encoder of a size.

    Raises:
        ValueError: an encoder for a modality that is not configured.
    """
    given = given or {}
    if unknown := [name for name in given if name not in modalities]:
        raise ValueError(f"`model.encoders` names {unknown[0]!r}, which is not in `data.modalities` {list(modalities)}")
    return {
        name: given[name] if name in given else modality.default_encoder(size) for name, modality in modalities.items()
    }


def build_heads(
    encoders: Mapping[str, Encoder], *, embedding: int | None, hidden: int, neutral: float
) -> dict[str, Projection | Unprojected]:
    """A projection to a shared width for each encoder, or none for those that have it already.

    Raises:
        ValueError: no projection is wanted, and the encoders differ in width.
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
    return {name: Unprojected(width) for name, width in widths.items()}


def without_readout(encoders: Mapping[str, Encoder]) -> dict[str, MaskableEncoder]:
    """The encoders for masked pretraining, without what makes one vector of their tokens.

    Raises:
        ValueError: one cannot leave tokens out.
    """
    built = {}
    for name, encoder in encoders.items():
        if not isinstance(encoder, MaskableEncoder):
            raise ValueError(
                f"got encoder {type(encoder).__name__} for modality {name!r}, which cannot leave tokens out; set "
                f"`model.encoders.{name}` to a MaskableEncoder, or remove it to use the plugin's own"
            )
        encoder.drop_readout()
        built[name] = encoder
    return built


def encode_batch(
    encoders: nn.ModuleDict, heads: nn.ModuleDict, batch: Batch, *, at_once: int = 0
) -> dict[str, Float[Tensor, "B d"]]:
    """Encode and project every modality; a study that lacks it gets a row of zeros.

    With ``at_once`` an encoder sees that many studies at a time and keeps no activations: the backward pass encodes
    them again, with the same dropout. Heads see the whole batch. The gradient is that of the whole batch and all
    ranks are synchronised once, which is what GradCache is for (Gao et al. 2021).

    A modality that no study of the batch has still touches the parameters of its encoder with weight zero, so that
    distributed training finds a gradient for every parameter on every rank, and its head normalises no row along with
    the rows of other ranks.
    """
    embedded: dict[str, Tensor] = {}
    for name, encoder in encoders.items():
        assert isinstance(encoder, Encoder)
        present = batch.present[name]
        if name in batch.inputs:
            pooled = _pooled(encoder, batch.inputs[name], at_once)
        else:
            pooled = touch([encoder], present.device).expand(0, encoder.width)
        rows = heads[name](pooled)
        embedded[name] = rows.new_zeros(len(present), rows.shape[1]).index_put((present,), rows)
    return embedded


def touch(modules: Iterable[nn.Module], device: torch.device) -> Float[Tensor, ""]:
    """Zero, with a gradient of zero for every parameter of modules that a batch leaves idle."""
    zero = torch.zeros((), device=device)
    return sum((p.sum() * 0.0 for module in modules for p in module.parameters() if p.requires_grad), start=zero)


def _pooled(encoder: nn.Module, inputs: dict[str, Tensor], at_once: int) -> Float[Tensor, "b D"]:
    size = len(next(iter(inputs.values())))
    if not 0 < at_once < size:
        whole: Tensor = encoder(inputs).pooled
        return whole
    parts = [
        {key: value[start : start + at_once] for key, value in inputs.items()} for start in range(0, size, at_once)
    ]
    return torch.cat([checkpoint(lambda part: encoder(part).pooled, part, use_reentrant=False) for part in parts])
