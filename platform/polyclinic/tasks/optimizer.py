"""AdamW with a warm-up and cosine schedule, and layer-wise learning-rate decay."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import lightning.pytorch as L
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from polyclinic.distributed import sum_without_gradient


def layer_scales(encoders: Mapping[str, nn.Module] | nn.ModuleDict, decay: float) -> dict[str, float]:
    """Return the layer-wise factors of the learning rate of encoder parameters (Bao et al. 2022, BEiT, 4.1).

    The factor is 1 for the last block and later modules, ``decay`` times that of the next block for each earlier
    block, and once more for modules ahead of the blocks. Blocks are the longest ``nn.ModuleList`` or
    ``nn.Sequential`` whose members have parameters; the order of modules is that of their registration.

    Args:
        encoders: encoders by name.
        decay: factor per block, above 0 and at most 1.

    Returns:
        Factors by the parameter's name, ``NAME.PARAMETER``.

    Raises:
        ValueError: ``decay`` is out of range.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"got layer_decay {decay}, expected above 0 and at most 1; set `model.layer_decay`")
    return {
        f"{name}.{parameter}": decay**depth
        for name, encoder in encoders.items()
        for parameter, depth in _depths(encoder).items()
    }


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """Return the blocks of an encoder, in order; an empty list if it has none."""
    prefix, blocks = _longest(encoder)
    return list(encoder.get_submodule(prefix[:-1]).children()) if blocks else []


def _depths(encoder: nn.Module) -> dict[str, int]:
    """Return the number of blocks that follow the block of each parameter."""
    prefix, blocks = _longest(encoder)
    started = False
    depths = {}
    for name, _ in encoder.named_parameters():
        if blocks and name.startswith(prefix):
            started = True
            depths[name] = blocks - 1 - int(name.removeprefix(prefix).partition(".")[0])
        else:
            depths[name] = 0 if started or not blocks else blocks
    return depths


def _longest(encoder: nn.Module) -> tuple[str, int]:
    lists = [
        (len(module), f"{name}.")
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        and name
        and all(any(True for _ in member.parameters()) for member in module)
    ]
    count, prefix = max(lists, key=lambda entry: entry[0], default=(0, ""))
    return prefix, count


def adamw_cosine(
    module: L.LightningModule,
    *,
    lr: float,
    weight_decay: float,
    warmup: float,
    scales: Mapping[str, float] = MappingProxyType({}),
) -> Any:
    """Return the optimizer and schedule of a task, in Lightning's format.

    Args:
        module: task with a trainer whose number of steps is known.
        lr: peak learning rate.
        weight_decay: weight decay of matrices; parameters with fewer than two dimensions have none.
        warmup: share of all steps in which the rate rises linearly.
        scales: factors of the rate by the parameter's name; 1 unless listed.

    Raises:
        ValueError: the rate is not positive, the warm-up is outside [0, 1), or there is a ``SyncBatchNorm``.
    """
    if any(isinstance(part, nn.SyncBatchNorm) for part in module.modules()):
        raise ValueError(
            "got `trainer.sync_batchnorm` true, with which ranks wait forever for a rank without a modality; set "
            "it to false: heads already normalise over the studies of all ranks"
        )
    if lr <= 0 or not 0 <= warmup < 1:
        raise ValueError(f"got lr {lr} and warmup {warmup}; expected `model.lr` > 0 and 0 <= `model.warmup` < 1")
    sharded = any(isinstance(parameter, DTensor) for parameter in module.parameters())
    kind = _ShardedAdamW if sharded else AdamW
    optimizer = kind(_groups(module, lr, weight_decay, scales), lr=lr, fused=True)
    total = max(1, int(module.trainer.estimated_stepping_batches))
    warmup_steps = max(1, round(warmup * total))

    def factor(step: int) -> float:
        # A learning-rate finder changes the rate of the module after this schedule has been built.
        change = getattr(module, "lr", lr) / lr
        if step < warmup_steps:
            return change * (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total - warmup_steps))
        return change * 0.5 * (1 + math.cos(math.pi * progress))

    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def clip_gradients(module: L.LightningModule, optimizer: Optimizer, limit: float | None, algorithm: str | None) -> None:
    """Clip gradients as Lightning does, including a mix of sharded and full gradients.

    Args:
        module: task with a trainer.
        optimizer: optimizer of the parameters.
        limit: largest norm over all gradients, or largest value; None or 0 for no limit.
        algorithm: ``norm`` or ``value``; ``norm`` unless set.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not limit or not any(isinstance(gradient, DTensor) for gradient in gradients):
        module.clip_gradients(optimizer, gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
        return
    local = [_local(gradient) for gradient in gradients]
    if algorithm == "value":
        for gradient in local:
            gradient.clamp_(-limit, limit)
        return
    shards = [shard for shard, gradient in zip(local, gradients, strict=True) if isinstance(gradient, DTensor)]
    full = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    # The shards of all ranks are summed; every rank holds the full gradients, which count once.
    squares = sum_without_gradient(nn.utils.get_total_norm(shards).square()) + nn.utils.get_total_norm(full).square()
    scale = (limit / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in local:
        gradient.mul_(scale)


class _ShardedAdamW(AdamW):
    """AdamW over sharded and full parameters in one group, which torch does not support.

    A step is elementwise, so that each rank can update its local shards alone.
    """

    def _init_group(self, group: dict[str, Any], *lists: list[Any]) -> bool:
        found: bool = super()._init_group(group, *lists)
        for tensors in lists:
            tensors[:] = map(_local, tensors)
        return found


def _local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def _groups(module: nn.Module, lr: float, weight_decay: float, scales: Mapping[str, float]) -> list[dict[str, Any]]:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((decay, lr * scales.get(name, 1.0)), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda entry: entry[0], reverse=True)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (decay, rate), params in ordered]
