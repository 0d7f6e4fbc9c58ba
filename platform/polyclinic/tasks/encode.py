"""Encode the modalities of a batch, with dummy forward passes that keep FSDP ranks in step."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from polyclinic.data import Batch
from polyclinic.distributed import stack_without_gradient
from polyclinic.nn import Encoder, MaskableEncoder


class DummyInputs(NamedTuple):
    """One study's inputs, on the device of the batch, and how often to encode them."""

    study: dict[str, Tensor]
    times: int


def dummy_inputs(
    encoders: nn.ModuleDict, inputs: Mapping[str, dict[str, Tensor]], device: torch.device, *, at_once: int = 0
) -> dict[str, DummyInputs]:
    """What this rank must encode beside its own studies, by modality, in a training step with sharded encoders.

    Whoever calls a sharded encoder waits for the ranks that hold the rest of its weights. A rank with fewer calls
    than another makes up for them with a study of its own, or of the first rank that has one.

    Args:
        encoders: by modality; in the same order on all ranks.
        inputs: of the modalities that this rank's batch has.
        device: of the batch.
        at_once: studies per call; all of them when 0.
    """
    names = [name for name, encoder in encoders.items() if isinstance(encoder, FSDPModule)]
    if not names or not torch.is_grad_enabled():
        return {}
    calls = _calls([number_of_calls(inputs.get(name), at_once) for name in names], device)
    lent = {}
    for name, column in zip(names, calls.T.tolist(), strict=True):
        missing = max(column) - column[dist.get_rank()]
        study = {key: value[:1] for key, value in inputs.get(name, {}).items()}
        if 0 in column and max(column):
            study = _broadcast_study(
                study, source=next(rank for rank, times in enumerate(column) if times), device=device
            )
        if missing:
            lent[name] = DummyInputs(study, missing)
    return lent


def number_of_calls(inputs: dict[str, Tensor] | None, at_once: int) -> int:
    """How often an encoder is called for a batch."""
    if not inputs:
        return 0
    size = len(next(iter(inputs.values())))
    return -(-size // at_once) if at_once else 1


@contextmanager
def eval_without_side_effects(encoder: nn.Module) -> Iterator[None]:
    """Let an encoder draw no random number and learn no statistic."""
    training = [module for module in encoder.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _calls(own: list[int], device: torch.device) -> Int[Tensor, "W M"]:
    return stack_without_gradient(torch.tensor(own, device=device))


def _broadcast_study(study: dict[str, Tensor], *, source: int, device: torch.device) -> dict[str, Tensor]:
    """One rank's study, on all ranks; those that have one of their own keep it."""
    box = [{key: value.cpu() for key, value in study.items()}]
    dist.broadcast_object_list(box, src=source)
    return study or {key: value.to(device) for key, value in box[0].items()}


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
    lent = dummy_inputs(encoders, batch.inputs, device, at_once=at_once)
    embedded: dict[str, Tensor] = {}
    for name, encoder in encoders.items():
        assert isinstance(encoder, Encoder)
        present = batch.present[name]
        parts = [*_parts(batch.inputs.get(name), at_once), *_dummy_parts(lent.get(name))]
        pooled = _pooled(encoder, parts) if parts else zero_dependency([encoder], device).expand(0, encoder.width)
        rows = heads[name](pooled)
        embedded[name] = rows.new_zeros(len(present), rows.shape[1]).index_put((present,), rows)
    return embedded


def zero_dependency(modules: Iterable[nn.Module], device: torch.device) -> Float[Tensor, ""]:
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


def _dummy_parts(lent: DummyInputs | None) -> list[_Part]:
    return [] if lent is None else [_Part(lent.study, counts=False)] * lent.times


def _pooled(encoder: nn.Module, parts: list[_Part]) -> Float[Tensor, "b D"]:
    if len(parts) == 1:
        return _encoded(encoder, parts[0])
    return torch.cat([checkpoint(_encoded, encoder, part, use_reentrant=False) for part in parts])


def _encoded(encoder: nn.Module, part: _Part) -> Float[Tensor, "b D"]:
    with nullcontext() if part.counts else eval_without_side_effects(encoder):
        pooled: Tensor = encoder(part.inputs).pooled
    return pooled if part.counts else pooled[:0]
