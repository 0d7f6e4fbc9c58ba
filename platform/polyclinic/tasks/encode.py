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
    """Inputs of one study on the device of the batch, and the number of times to encode them."""

    study: dict[str, Tensor]
    times: int


def dummy_inputs(
    encoders: nn.ModuleDict, inputs: Mapping[str, dict[str, Tensor]], device: torch.device, *, at_once: int = 0
) -> dict[str, DummyInputs]:
    """Return the inputs of this rank's dummy forward passes, by modality, in a training step with sharded encoders.

    A call of a sharded encoder waits for the ranks that hold the rest of its weights. A rank with fewer calls than
    another therefore adds calls for one of its studies, or for a study of the first rank that has one.

    Args:
        encoders: encoders by modality, in the same order on all ranks.
        inputs: collated inputs of this rank's batch, by modality.
        device: device of the batch.
        at_once: studies per call; all of them when 0.
    """
    names = [name for name, encoder in encoders.items() if isinstance(encoder, FSDPModule)]
    if not names or not torch.is_grad_enabled():
        return {}
    calls = _calls([number_of_calls(inputs.get(name), at_once) for name in names], device)
    dummies = {}
    for name, column in zip(names, calls.T.tolist(), strict=True):
        missing = max(column) - column[dist.get_rank()]
        study = {key: value[:1] for key, value in inputs.get(name, {}).items()}
        if 0 in column and max(column):
            study = _broadcast_study(
                study, source=next(rank for rank, times in enumerate(column) if times), device=device
            )
        if missing:
            dummies[name] = DummyInputs(study, missing)
    return dummies


def number_of_calls(inputs: dict[str, Tensor] | None, at_once: int) -> int:
    """Return the number of encoder calls for a batch."""
    if not inputs:
        return 0
    size = len(next(iter(inputs.values())))
    return -(-size // at_once) if at_once else 1


@contextmanager
def eval_without_side_effects(encoder: nn.Module) -> Iterator[None]:
    """Put an encoder in evaluation mode, so that it draws no random numbers and updates no statistics."""
    training = [module for module in encoder.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _calls(counts: list[int], device: torch.device) -> Int[Tensor, "W M"]:
    return stack_without_gradient(torch.tensor(counts, device=device))


def _broadcast_study(study: dict[str, Tensor], *, source: int, device: torch.device) -> dict[str, Tensor]:
    """Broadcast a study from one rank to the ranks that have none."""
    box = [{key: value.cpu() for key, value in study.items()}]
    dist.broadcast_object_list(box, src=source)
    return study or {key: value.to(device) for key, value in box[0].items()}


def without_readout(encoders: Mapping[str, Encoder]) -> dict[str, MaskableEncoder]:
    """Prepare encoders for masked pretraining: remove the readouts, which it would not train.

    Raises:
        ValueError: an encoder is not a ``MaskableEncoder``.
    """
    built = {}
    for name, encoder in encoders.items():
        if not isinstance(encoder, MaskableEncoder):
            raise ValueError(
                f"got encoder {type(encoder).__name__} for modality {name!r}, which cannot omit tokens; set "
                f"`model.encoders.{name}` to a MaskableEncoder, or remove it to use the plugin's default"
            )
        encoder.drop_readout()
        built[name] = encoder
    return built


def encode_batch(
    encoders: nn.ModuleDict, heads: nn.ModuleDict, batch: Batch, *, at_once: int = 0
) -> dict[str, Float[Tensor, "B d"]]:
    """Encode and project every modality; a study that lacks it gets a row of zeros.

    With ``at_once``, an encoder sees that many studies per call and keeps no activations: the backward pass encodes
    them again, with the same dropout. Heads see the complete batch. The gradient is that of the complete batch, and
    ranks synchronise once, as with GradCache (Gao et al. 2021).

    If no study of the batch has a modality, the parameters of its encoder get a gradient of zero, because distributed
    training needs a gradient of every parameter on every rank, and its head is called without rows, because the heads
    of all ranks normalise together. Ranks can only call a sharded encoder together, so each calls it as often as the
    rank with the most calls, by dummy forward passes of weight zero.
    """
    device = next(iter(batch.present.values())).device
    dummies = dummy_inputs(encoders, batch.inputs, device, at_once=at_once)
    embedded: dict[str, Tensor] = {}
    for name, encoder in encoders.items():
        assert isinstance(encoder, Encoder)
        present = batch.present[name]
        parts = [*_parts(batch.inputs.get(name), at_once), *_dummy_parts(dummies.get(name))]
        pooled = _pooled(encoder, parts) if parts else zero_dependency([encoder], device).expand(0, encoder.width)
        rows = heads[name](pooled)
        embedded[name] = rows.new_zeros(len(present), rows.shape[1]).index_put((present,), rows)
    return embedded


def zero_dependency(modules: Iterable[nn.Module], device: torch.device) -> Float[Tensor, ""]:
    """Return zero, with a gradient of zero for every parameter of modules that a batch does not use."""
    zero = torch.zeros((), device=device)
    trained = (p for module in modules for p in module.parameters() if p.requires_grad)
    return sum(((p.to_local() if isinstance(p, DTensor) else p).sum() * 0.0 for p in trained), start=zero)


class _Part(NamedTuple):
    """Inputs of one encoder call, and whether its output is used."""

    inputs: dict[str, Tensor]
    used: bool = True


def _parts(inputs: dict[str, Tensor] | None, at_once: int) -> list[_Part]:
    calls = number_of_calls(inputs, at_once)
    if inputs is None or calls < 2:
        return [] if inputs is None else [_Part(inputs)]
    starts = range(0, calls * at_once, at_once)
    return [_Part({key: value[start : start + at_once] for key, value in inputs.items()}) for start in starts]


def _dummy_parts(dummy: DummyInputs | None) -> list[_Part]:
    return [] if dummy is None else [_Part(dummy.study, used=False)] * dummy.times


def _pooled(encoder: nn.Module, parts: list[_Part]) -> Float[Tensor, "b D"]:
    if len(parts) == 1:
        return _encoded(encoder, parts[0])
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        return torch.cat([_encoded(encoder, part) for part in parts])  # there is no backward pass to save memory for
    return torch.cat([checkpoint(_encoded, encoder, part, use_reentrant=False) for part in parts])


def _encoded(encoder: nn.Module, part: _Part) -> Float[Tensor, "b D"]:
    with nullcontext() if part.used else eval_without_side_effects(encoder):
        pooled: Tensor = encoder(part.inputs).pooled
    return pooled if part.used else pooled[:0]
