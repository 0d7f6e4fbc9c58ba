"""Studies that a rank encodes for nothing but the company, where all ranks have to call an encoder equally often."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from polyclinic.distributed import stack_without_gradient


class Lent(NamedTuple):
    """One study's inputs, on the device of the batch, and how often to encode them."""

    study: dict[str, Tensor]
    times: int


def lent_studies(
    encoders: nn.ModuleDict, inputs: Mapping[str, dict[str, Tensor]], device: torch.device, *, at_once: int = 0
) -> dict[str, Lent]:
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
            study = _sent(study, source=next(rank for rank, times in enumerate(column) if times), device=device)
        if missing:
            lent[name] = Lent(study, missing)
    return lent


def number_of_calls(inputs: dict[str, Tensor] | None, at_once: int) -> int:
    """How often an encoder is called for a batch."""
    if not inputs:
        return 0
    size = len(next(iter(inputs.values())))
    return -(-size // at_once) if at_once else 1


@contextmanager
def at_rest(encoder: nn.Module) -> Iterator[None]:
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


def _sent(study: dict[str, Tensor], *, source: int, device: torch.device) -> dict[str, Tensor]:
    """One rank's study, on all ranks; those that have one of their own keep it."""
    box = [{key: value.cpu() for key, value in study.items()}]
    dist.broadcast_object_list(box, src=source)
    return study or {key: value.to(device) for key, value in box[0].items()}
