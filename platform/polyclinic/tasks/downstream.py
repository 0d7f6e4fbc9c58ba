"""Supervised training of encoders and a head on the cohort's labels."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as L
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer

from polyclinic.data import Batch, Target
from polyclinic.modality import Modality
from polyclinic.models.towers import build_encoders
from polyclinic.nn import Adapter, ConcatenationFusion, Encoder, Fusion, Readout, StudyNorm
from polyclinic.tasks.encode import encode_batch
from polyclinic.tasks.losses import mean_over_ranks, naming_studies, refuse_non_finite
from polyclinic.tasks.optimizer import adamw_cosine, clip_gradients, layer_scales
from polyclinic.tasks.targets import Targets
from polyclinic.tasks.validation import Predictions


class Downstream(L.LightningModule):
    """Predicts findings, classes, levels and quantities from any of the modalities, fused.

    Unknown labels (NaN) do not count.

    Args:
        modalities: by name; linked from ``data.modalities`` by the command line.
        targets: the label columns; linked from the cohort by the command line.
        fusion: makes one prediction of the features of all modalities; called with their widths and the number of
            outputs.
        encoders: by modality, in place of the default ones.
        size: of the default encoders, a key of ``nn.SIZES``.
        adapter: how much of the encoders is trained (``Frozen``, ``polyclinic.nn.lora.Lora``); all unless set.
        layer_decay: factor of the learning rate from each block of an encoder to the one before it.
        modality_dropout: probability with which training hides a modality of a study, never its last one.
        lr: peak learning rate.
        weight_decay: of matrices.
        warmup: share of all steps in which the learning rate rises.
    """

    def __init__(
        self,
        *,
        modalities: dict[str, Modality],
        targets: tuple[Target, ...],
        fusion: Callable[[dict[str, int], int], Fusion] = ConcatenationFusion,
        encoders: dict[str, Encoder] | None = None,
        size: str = "nano",
        adapter: Adapter | None = None,
        layer_decay: float = 1.0,
        modality_dropout: float = 0.0,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        warmup: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= modality_dropout < 1:
            raise ValueError(f"got modality_dropout {modality_dropout}, expected 0 or more and below 1; set it")
        built = build_encoders(modalities, size=size, given=encoders)
        self.encoders = nn.ModuleDict(built)
        widths = {name: encoder.width for name, encoder in built.items()}
        self.heads = nn.ModuleDict({name: StudyNorm(width) for name, width in widths.items()})
        self.targets = Targets(targets)
        self.fusion = fusion(widths, self.targets.outputs)
        self.adapter, self.layer_decay, self.modality_dropout = adapter, layer_decay, modality_dropout
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        self._adapted = adapter is None
        self._predictions = Predictions()
        layer_scales(built, layer_decay)

    def configure_model(self) -> None:
        """Freeze or adapt the encoders, whose weights are there by now."""
        if self.adapter is not None and not self._adapted:
            for encoder in self.encoders.values():
                self.adapter.adapt(encoder)
        self._adapted = True

    def features(self, batch: Batch) -> dict[str, Float[Tensor, "B _"]]:
        """What each modality says by itself; zeros where a study lacks it."""
        return encode_batch(self.encoders, self.heads, batch)

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """The outputs, as ``targets`` reads them: a log-odds for each finding, and so on."""
        return self.fuse(self.features(batch), batch.present)

    def fuse(
        self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B K"]:
        """The readings of some of the modalities of a batch, chosen by ``present``."""
        outputs: Tensor = self.fusion(features, present).outputs
        return self.targets.readings(outputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The mean loss of all readouts over the known labels."""
        with naming_studies(batch):
            fused = self.fusion(self.features(batch), self._some(batch.present))
        whole = torch.ones(len(batch), dtype=torch.bool, device=batch.labels.device)
        parts = fused.earlier or (Readout(fused.outputs, whole),)
        losses = [
            mean_over_ranks(self.targets.loss(outputs, batch.labels.masked_fill(~rows[:, None], torch.nan)))
            for outputs, rows in parts
        ]
        loss = torch.stack(losses).mean() + fused.penalty
        refuse_non_finite(loss, batch)
        self.log("train/loss", loss, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep what was predicted."""
        self._predictions.add(self.fusion(self.features(batch), batch.present).outputs, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Loss and macro AUROC over the studies of all ranks, each counted once."""
        for name, value in self._predictions.measure(self.targets).items():
            self.log(f"val/{name}", value, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B K"]:
        """The readings."""
        readings: Tensor = self(batch)
        return readings

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine."""
        scales = {f"encoders.{name}": scale for name, scale in layer_scales(self.encoders, self.layer_decay).items()}
        return adamw_cosine(self, lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup, scales=scales)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Over the gradients of all ranks' shares."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _some(self, present: Mapping[str, Bool[Tensor, " B"]]) -> Mapping[str, Bool[Tensor, " B"]]:
        """What is left of the modalities after dropout."""
        if not self.modality_dropout:
            return present
        there = torch.stack(list(present.values()))
        chance = torch.rand(there.shape, device=there.device)
        kept = there & (chance >= self.modality_dropout)
        last = chance.masked_fill(~there, -1.0).argmax(dim=0)
        kept |= there & torch.zeros_like(there).scatter(0, last[None], value=True)
        return dict(zip(present, kept, strict=True))
