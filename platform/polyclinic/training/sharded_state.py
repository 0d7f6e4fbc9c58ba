"""Values of which each rank keeps a share: whole ones made of them, and shares of whole ones."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average over ranks, in one message per type of number; a parameter without a gradient gives zeros."""
    trained = [p for p in parameters if p.requires_grad]
    for dtype in dict.fromkeys(p.dtype for p in trained):
        group = [p for p in trained if p.dtype == dtype]
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in group])
        dist.all_reduce(flat)
        parts = flat.div_(dist.get_world_size()).split([p.numel() for p in group])
        for p, part in zip(group, parts, strict=True):
            p.grad = part.view_as(p)


def whole(state: Mapping[str, Any]) -> dict[str, Any]:
    """Gathered values on the CPU of rank zero; every rank must call it."""
    told = {}
    for name, value in state.items():
        full = value.full_tensor() if isinstance(value, DTensor) else value
        if dist.get_rank() == 0:
            told[name] = full.cpu() if isinstance(full, Tensor) else full
    return told


def share(value: Any, held: Any) -> Any:
    """This rank's share of a whole value, laid out as what it will replace."""
    if not isinstance(held, DTensor) or not isinstance(value, Tensor) or value.shape != held.shape:
        return value
    return distribute_tensor(value.to(held.device), held.device_mesh, held.placements, src_data_rank=None)


def shared_moments(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's state numbers parameters in the order of its groups."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    keys = [key for group in state["param_groups"] for key in group["params"]]
    moments = {
        key: {name: share(value, p) for name, value in state["state"][key].items()}
        for key, p in zip(keys, held, strict=True)
        if key in state["state"]
    }
    return {**state, "state": moments}
