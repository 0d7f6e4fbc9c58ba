"""AdamW with a linear warm-up and a cosine decay, without decay on what must not shrink."""

import math
from typing import Any

import lightning.pytorch as L
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


def adamw_cosine(module: L.LightningModule, *, lr: float, weight_decay: float, warmup: float) -> Any:
    """The optimizer and schedule of a task, in Lightning's form.

    Args:
        module: attached to a trainer that knows its number of steps.
        lr: peak learning rate.
        weight_decay: applied to matrices only; norms, biases, embeddings of one dimension and temperatures are
            left out.
        warmup: share of all steps in which the rate rises linearly.

    Raises:
        ValueError: a rate that is not positive, or a warm-up outside [0, 1).
    """
    if lr <= 0 or not 0 <= warmup < 1:
        raise ValueError(f"got lr {lr} and warmup {warmup}; expected `model.lr` > 0 and 0 <= `model.warmup` < 1")
    optimizer = AdamW(_groups(module, weight_decay), lr=lr, fused=True)
    total = max(1, int(module.trainer.estimated_stepping_batches))
    first = max(1, round(warmup * total))

    def factor(step: int) -> float:
        if step < first:
            return (step + 1) / first
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - first) / max(1, total - first))))

    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
