"""Sums and gathers over the ranks of a process group, with and without a gradient.

The backward pass of a sum or gather sums the gradients of all ranks. Data-parallel training then averages over ranks,
so each parameter receives the gradient that a single process would compute, without a factor of the world size. All
functions are collective: a rank that skips one blocks the others.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def world_size() -> int:
    """Return the number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the index of this process; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_with_gradient(value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Sum the equally shaped tensors of all ranks, differentiably."""
    if world_size() == 1:
        return value
    total: Tensor = _Sum.apply(value)
    return total


def sum_without_gradient(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Sum the equally shaped tensors of all ranks; no gradient flows back."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def stack_with_gradient(value: Float[Tensor, "..."]) -> Float[Tensor, "W ..."]:
    """Stack the equally shaped tensors of all ranks in order of rank, differentiably."""
    if world_size() == 1:
        return value[None]
    stacked: Tensor = _Stack.apply(value)
    return stacked


def stack_without_gradient(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "W ..."]:
    """Stack the equally shaped tensors of all ranks in order of rank; no gradient flows back."""
    if world_size() == 1:
        return value.detach()[None]
    received = [torch.empty_like(value) for _ in range(world_size())]
    dist.all_gather(received, value.detach().contiguous())
    return torch.stack(received)


def rows_with_gradient(value: Float[Tensor, "n ..."]) -> Float[Tensor, "N ..."]:
    """Concatenate the rows of all ranks in order of rank, differentiably; ranks may have different row counts."""
    return value if world_size() == 1 else _concatenate(value, stack_with_gradient)


def rows_without_gradient(value: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "N ..."]:
    """Concatenate the rows of all ranks in order of rank; row counts may differ, and no gradient flows back."""
    rows = value.detach()
    return rows if world_size() == 1 else _concatenate(rows, stack_without_gradient)


def _concatenate(value: Tensor, stack: Callable[[Tensor], Tensor]) -> Tensor:
    """Pad to the longest rank, stack, and remove the padding: collectives need equal shapes."""
    sizes: Int[Tensor, " W"] = stack_without_gradient(torch.tensor(len(value), device=value.device))
    padding = [0, 0] * (value.ndim - 1) + [0, int(sizes.max()) - len(value)]
    stacked = stack(F.pad(value, padding))
    return torch.cat([rows[:size] for rows, size in zip(stacked, sizes.tolist(), strict=True)])


class _Sum(torch.autograd.Function):
    """Sum over ranks, forward and backward."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return sum_without_gradient(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_without_gradient(gradient)


class _Stack(torch.autograd.Function):
    """Stack over ranks; the backward pass sums this rank's slice of the gradient over all ranks."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return stack_without_gradient(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_without_gradient(gradient.contiguous())[rank()]
