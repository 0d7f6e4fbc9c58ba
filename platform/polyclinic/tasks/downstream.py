"""Supervised training of encoders and a head on the cohort's labels."""

from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.data import Batch
from polyclinic.modality import Modality
from polyclinic.nn import Encoder, Projection
from polyclinic.tasks.encoders import build_encoders, encode_batch
from polyclinic.tasks.optimizer import adamw_cosine


class Downstream(L.LightningModule):
    """Multi-label classification from the concatenated features of all modalities.

    A missing modality is replaced by a learned vector. Unknown labels (NaN) do not count.

    Args:
        modalities: by name; linked from ``data.modalities`` by the command line.
        findings: number of label columns C.
        encoders: by modality, in place of the default ones.
        size: of the default encoders, a key of ``nn.SIZES``.
        hidden: width of the head's hidden layer.
        lr: peak learning rate.
        weight_decay: of matrices.
        warmup: share of all steps in which the learning rate rises.
    """

    def __init__(
        self,
        *,
        modalities: dict[str, Modality],
        findings: int,
        encoders: dict[str, Encoder] | None = None,
        size: str = "nano",
        hidden: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        warmup: float = 0.1,
    ) -> None:
        super().__init__()
        built = build_encoders(modalities, size=size, given=encoders)
        self.encoders = nn.ModuleDict(built)
        widths = {name: encoder.width for name, encoder in built.items()}
        self.heads = nn.ModuleDict({name: Projection(width=width, embedding=width) for name, width in widths.items()})
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name, width in widths.items()})
        self.classifier = nn.Sequential(nn.Linear(sum(widths.values()), hidden), nn.GELU(), nn.Linear(hidden, findings))
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup

    def forward(self, batch: Batch) -> Float[Tensor, "B C"]:
        """Logits of every finding."""
        embedded = encode_batch(self.encoders, self.heads, batch)
        features = [
            torch.where(batch.present[name][:, None], value, self.absent[name]) for name, value in embedded.items()
        ]
        logits: Tensor = self.classifier(torch.cat(features, dim=1))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Mean binary cross-entropy over the known labels."""
        loss = masked_bce(self(batch), batch.labels)
        self.log("train/loss", loss, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same on the validation split."""
        self.log("val/loss", masked_bce(self(batch), batch.labels), batch_size=len(batch), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B C"]:
        """The logits."""
        logits: Tensor = self(batch)
        return logits

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine."""
        return adamw_cosine(self, lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup)


def masked_bce(logits: Float[Tensor, "B C"], labels: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """Binary cross-entropy averaged over the labels that are not NaN; zero, with a graph, when there are none."""
    known = ~labels.isnan()
    loss = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return (loss * known).sum() / known.sum().clamp_min(1)
