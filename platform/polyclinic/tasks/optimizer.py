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
    """By which factor the learning rate of each parameter of each encoder is lower (Bao et al. 2022, BEiT, 4.1).

    The last block and what follows it have factor 1, each block before it ``decay`` times that of the next, and what
    comes before the blocks once more. Blocks are the longest ``nn.ModuleList`` or ``nn.Sequential`` whose members
    have parameters; where a module stands in an encoder follows from the order in which it was registered.

    Args:
        encoders: by name.
        decay: above 0, at most 1.

    Returns:
        Factors by the parameter's name, ``NAME.PARAMETER``.

    Raises:
        ValueError: a decay out of range.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"got layer_decay {decay}, expected above 0 and at most 1; set `model.layer_decay`")
    return {
        f"{name}.{parameter}": decay**depth
        for name, encoder in encoders.items()
        for parameter, depth in _depths(encoder).items()
    }


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """The blocks of an encoder, in order; none where it has no such list."""
    prefix, blocks = _longest(encoder)
    return list(encoder.get_submodule(prefix[:-1]).children()) if blocks else []


def _depths(encoder: nn.Module) -> dict[str, int]:
    """How many blocks follow the one that each parameter is in."""
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
    """The optimizer and schedule of a task, in Lightning's form.

    Args:
        module: attached to a trainer that knows its number of steps.
        lr: peak learning rate.
        weight_decay: applied to matrices only; norms, biases, embeddings of one dimension and temperatures are
            left out.
        warmup: share of all steps in which the rate rises linearly.
        scales: factors of the rate by the parameter's name; 1 unless named.

    Raises:
        ValueError: a rate that is not positive, a warm-up outside [0, 1), or a BatchNorm that ranks would wait in.
    """
    if any(isinstance(part, nn.SyncBatchNorm) for part in module.modules()):
        raise ValueError(
            "got `trainer.sync_batchnorm` true, under which a rank without a modality leaves the others waiting; set "
            "it to false: heads normalise over the studies of all ranks by themselves"
        )
    if lr <= 0 or not 0 <= warmup < 1:
        raise ValueError(f"got lr {lr} and warmup {warmup}; expected `model.lr` > 0 and 0 <= `model.warmup` < 1")
    sharded = any(isinstance(parameter, DTensor) for parameter in module.parameters())
    kind = _ShardedAdamW if sharded else AdamW
    optimizer = kind(_groups(module, lr, weight_decay, scales), lr=lr, fused=True)
    total = max(1, int(module.trainer.estimated_stepping_batches))
    first = max(1, round(warmup * total))

    def factor(step: int) -> float:
        # A rate finder changes the module's rate after this schedule was made from it.
        found = getattr(module, "lr", lr) / lr
        if step < first:
            return found * (step + 1) / first
        return found * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - first) / max(1, total - first))))

    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def clip_gradients(module: L.LightningModule, optimizer: Optimizer, limit: float | None, algorithm: str | None) -> None:
    """Clip as Lightning does, also where some gradients are shared out over ranks and others are whole.

    Args:
        module: attached to a trainer.
        optimizer: of the parameters.
        limit: largest norm of all gradients together, or largest value; None or 0 for none.
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
    shares = [one for one, gradient in zip(local, gradients, strict=True) if isinstance(gradient, DTensor)]
    wholes = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    squares = sum_without_gradient(nn.utils.get_total_norm(shares).square()) + nn.utils.get_total_norm(wholes).square()
    scale = (limit / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in local:
        gradient.mul_(scale)


class _ShardedAdamW(AdamW):
    """AdamW over this rank's shares and over whole parameters alike, which torch would not step together.

    The steps are elementwise: a share needs nothing of the others.
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
