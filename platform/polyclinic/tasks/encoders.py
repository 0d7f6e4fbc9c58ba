"""One encoder per modality, and embeddings aligned with the studies of a batch."""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from polyclinic.data import Batch
from polyclinic.nn import Encoder, MaskableEncoder
from polyclinic.tasks.dummy_forward import Lent, at_rest, lent_studies, number_of_calls


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
    the rows of other ranks. A sharded encoder, which ranks can only call together, is called as often as on the rank
    that needs it most, for studies whose weight is zero.
    """
    device = next(iter(batch.present.values())).device
    lent = lent_studies(encoders, batch.inputs, device, at_once=at_once)
    embedded: dict[str, Tensor] = {}
    for name, encoder in encoders.items():
        assert isinstance(encoder, Encoder)
        present = batch.present[name]
        parts = [*_parts(batch.inputs.get(name), at_once), *_rests(lent.get(name))]
        pooled = _pooled(encoder, parts) if parts else touch([encoder], device).expand(0, encoder.width)
        rows = heads[name](pooled)
        embedded[name] = rows.new_zeros(len(present), rows.shape[1]).index_put((present,), rows)
    return embedded


def touch(modules: Iterable[nn.Module], device: torch.device) -> Float[Tensor, ""]:
    """Zero, with a gradient of zero for every parameter of modules that a batch leaves idle."""
    zero = torch.zeros((), device=device)
    trained = (p for module in modules for p in module.parameters() if p.requires_grad)
    return sum(((p.to_local() if isinstance(p, DTensor) else p).sum() * 0.0 for p in trained), start=zero)


class _Part(NamedTuple):
    """Studies that an encoder sees at a time, and whether anything is made of them."""

    inputs: dict[str, Tensor]
    counts: bool = True


def _parts(inputs: dict[str, Tensor] | None, at_once: int) -> list[_Part]:
    calls = number_of_calls(inputs, at_once)
    if inputs is None or calls < 2:
        return [] if inputs is None else [_Part(inputs)]
    starts = range(0, calls * at_once, at_once)
    return [_Part({key: value[start : start + at_once] for key, value in inputs.items()}) for start in starts]


def _rests(lent: Lent | None) -> list[_Part]:
    return [] if lent is None else [_Part(lent.study, counts=False)] * lent.times


def _pooled(encoder: nn.Module, parts: list[_Part]) -> Float[Tensor, "b D"]:
    if len(parts) == 1:
        return _encoded(encoder, parts[0])
    return torch.cat([checkpoint(_encoded, encoder, part, use_reentrant=False) for part in parts])


def _encoded(encoder: nn.Module, part: _Part) -> Float[Tensor, "b D"]:
    with nullcontext() if part.counts else at_rest(encoder):
        pooled: Tensor = encoder(part.inputs).pooled
    return pooled if part.counts else pooled[:0]
