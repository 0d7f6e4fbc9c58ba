"""Sums over the processes that train together, with gradients that come back to each of them."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def rank_and_world() -> tuple[int, int]:
    """This process, and how many train together; (0, 1) without a process group."""
    together = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if together else (0, 1)


def sum_over_ranks(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The sum of the equally shaped tensors of all ranks, differentiably; every rank must call it."""
    if rank_and_world()[1] == 1:
        return value
    total: Tensor = _Sum.apply(value)
    return total


def stack_over_ranks(value: Float[Tensor, " n"]) -> Float[Tensor, "W n"]:
    """The vectors of all ranks, one a row, differentiably; every rank must call it."""
    rank, world = rank_and_world()
    place = torch.arange(world, device=value.device) == rank
    return sum_over_ranks(place[:, None] * value)


class _Sum(torch.autograd.Function):
    """Forward sums; backward sums the gradients of all ranks, which is what each rank's term is worth to all."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
