"""Embeddings of all ranks on every rank, with gradients that come back to the rank they came from.

Every rank computes the loss of the joined batch. The backward pass of a gather sums over ranks, distributed training
then averages over them, and each parameter, the temperature too, gets the gradient that one process would give it: no
factor of the world size anywhere.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from polyclinic.objectives.studies import Studies


def world_size() -> int:
    """How many processes train together; one without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process among them."""
    return dist.get_rank() if world_size() > 1 else 0


def all_gather(value: Float[Tensor, "..."]) -> Float[Tensor, "W ..."]:
    """Stack the equally shaped tensors of all ranks, differentiably."""
    gathered: Tensor = _AllGather.apply(value)
    return gathered


def sum_over_ranks(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The sum of the tensors of all ranks, without a gradient."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def gather_studies(studies: Studies) -> Studies:
    """Join the studies of all ranks, in order of rank; ranks may hold different numbers of them.

    Every rank names the same modalities in the same order; one that no study of a rank has comes as rows that are
    not present.
    """
    if world_size() == 1:
        return studies
    names = list(studies.embeddings)
    sizes = _gather_plain(torch.tensor([len(studies)], device=next(iter(studies.embeddings.values())).device))[:, 0]
    flags = [studies.present[name].long() for name in names]
    groups = [] if studies.groups is None else [studies.groups]
    values = _ragged(torch.stack(list(studies.embeddings.values()), dim=1), sizes, all_gather)
    facts = _ragged(torch.stack([*flags, *groups], dim=1), sizes, _gather_plain)
    return Studies(
        embeddings={name: values[:, column] for column, name in enumerate(names)},
        present={name: facts[:, column].bool() for column, name in enumerate(names)},
        groups=facts[:, -1] if groups else None,
        joined=True,
    )


def gather_rows(value: Float[Tensor, "n ..."]) -> Float[Tensor, "N ..."]:
    """The rows of all ranks, in order of rank, without a gradient; ranks may hold different numbers of them."""
    if world_size() == 1:
        return value
    sizes = _gather_plain(torch.tensor([len(value)], device=value.device))[:, 0]
    return _ragged(value.detach(), sizes, _gather_plain)


def _ragged(value: Tensor, sizes: Tensor, gather: Any) -> Tensor:
    """Pad to the longest rank, gather, and cut the padding off."""
    longest = int(sizes.max())
    padding = [0, 0] * (value.ndim - 1) + [0, longest - len(value)]
    gathered = gather(F.pad(value, padding))
    return torch.cat([one[:size] for one, size in zip(gathered, sizes.tolist(), strict=True)])


def _gather_plain(value: Tensor) -> Tensor:
    received = [torch.empty_like(value) for _ in range(world_size())]
    dist.all_gather(received, value.contiguous())
    return torch.stack(received)


class _AllGather(torch.autograd.Function):
    """Forward gathers; backward sums each rank's share of the gradient over all ranks."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _gather_plain(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total[rank()]
