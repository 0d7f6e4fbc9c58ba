"""Supervised training of encoders and a fusion on the labels of a cohort."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from polyclinic.data import Batch, CohortDataModule, Target
from polyclinic.modality import Modality
from polyclinic.models.towers import build_encoders, build_linear_path
from polyclinic.nn import Adapter, ConcatenationFusion, Encoder, Fusion, Readout, StudyNorm
from polyclinic.nn.linear_path import fused_outputs
from polyclinic.nn.targets import Targets
from polyclinic.tasks.adapting import AdaptingTask
from polyclinic.tasks.averaging import LinearOutputs, add_held_out_weights, choose_share
from polyclinic.tasks.encode import encode_batch
from polyclinic.tasks.losses import mean_over_ranks, naming_studies, refuse_non_finite
from polyclinic.tasks.optimizer import adamw_cosine, clip_gradients, layer_scales
from polyclinic.tasks.validation import Monitor, Predictions, measure


class Downstream(AdaptingTask):
    """Predicts findings, classes, levels and quantities by fusion of the modalities that a study has.

    Unknown labels (NaN) are ignored.

    Args:
        modalities: plugins by name; linked from ``data.modalities`` by the command line.
        targets: label columns; linked from the cohort by the command line.
        fusion: constructor of the fusion, called with the widths of the features and the number of outputs.
        encoders: encoders by modality, in place of the default ones.
        size: size of the default encoders, a key of ``nn.SIZES``.
        linear: whether a linear model on fixed features of the modalities joins the network, with the share that
            gives the smallest loss on the validation studies; see ``nn.LinearPath``.
        adapter: selection of the trained weights of the encoders (``Frozen``, ``polyclinic.nn.lora.Lora``); all weights
            unless set.
        layer_decay: factor of the learning rate from each block of an encoder to the previous one.
        modality_dropout: probability of dropping a modality of a study in training, never its last one.
        lr: peak learning rate.
        weight_decay: weight decay of matrices.
        warmup: share of all steps in which the learning rate rises.

    Raises:
        ValueError: a setting is out of range, or a label cannot be learned.
    """

    def __init__(
        self,
        *,
        modalities: dict[str, Modality],
        targets: tuple[Target, ...],
        fusion: Callable[[dict[str, int], int], Fusion] = ConcatenationFusion,
        encoders: dict[str, Encoder] | None = None,
        size: str = "nano",
        linear: bool = True,
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
        self._widths = widths
        self.targets = Targets(targets)
        self.fusion = fusion(widths, self.targets.outputs)
        self.linear_path = build_linear_path(modalities, self.targets.outputs) if linear else None
        self.held_out_path = None if self.linear_path is None else self.linear_path.twin()
        self.adapter, self.layer_decay, self.modality_dropout = adapter, layer_decay, modality_dropout
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        self.adapters = {} if adapter is None else dict.fromkeys(built, adapter)
        self._predictions = Predictions()
        self._linear_outputs = LinearOutputs()
        layer_scales(built, layer_decay)

    def setup(self, stage: str) -> None:
        """Balance the losses of the labels; see ``Targets.balance``."""
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, CohortDataModule):
            self.targets.balance(data.training_labels())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue a run of an earlier release, which has no linear path, or one from the training studies alone."""
        if not add_held_out_weights(checkpoint["state_dict"]):
            self.linear_path = self.held_out_path = None

    @property
    def monitor(self) -> Monitor:
        """The validation metric that chooses the best weights: AUROC if all labels are findings, otherwise the loss."""
        only_findings = len(self.targets.findings) == len(self.targets.targets)
        return Monitor("val/auroc", "max") if only_findings else Monitor("val/loss", "min")

    def features(self, batch: Batch, *, held_out: bool = False) -> dict[str, Float[Tensor, "B _"]]:
        """Return normalised features per modality, then its part of the linear path; zeros where a study lacks it.

        Args:
            batch: studies to encode.
            held_out: whether they are validation studies, which the linear model of the training studies predicts.
        """
        encoded = encode_batch(self.encoders, self.heads, batch)
        path = self.held_out_path if held_out else self.linear_path
        if path is None:
            return encoded
        linear = path.contributions(batch.inputs, batch.present)
        return encoded | {name: torch.cat([encoded[name], added], dim=1) for name, added in linear.items()}

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Return the predictions of a batch, such as the log-odds of findings; see ``Targets.predictions``."""
        return self.fuse(self.features(batch), batch.present)

    def fuse(
        self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B K"]:
        """Return the predictions from the features of the modalities in ``present``."""
        return self.targets.predictions(fused_outputs(self.fusion, self.linear_path, self._widths, features, present))

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean loss over the readouts of the fusion, each over the known labels."""
        with naming_studies(batch):
            encoded = encode_batch(self.encoders, self.heads, batch)
            fused = self.fusion(encoded, self._drop_modalities(batch.present))
        all_rows = torch.ones(len(batch), dtype=torch.bool, device=batch.labels.device)
        readouts = fused.earlier or (Readout(fused.outputs, all_rows),)
        losses = [
            mean_over_ranks(self.targets.loss(outputs, batch.labels.masked_fill(~rows[:, None], torch.nan)))
            for outputs, rows in readouts
        ]
        loss = torch.stack(losses).mean() + fused.penalty
        refuse_non_finite(loss, batch)
        self.log("train/loss", loss, batch_size=len(batch), prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect the outputs of the network and of the linear path, and the labels, of a batch."""
        encoded = encode_batch(self.encoders, self.heads, batch)
        outputs = [self.fusion(encoded, batch.present).outputs.float()]
        if self.held_out_path is not None:
            outputs.append(self._linear_outputs.of(batch, self.held_out_path))
        self._predictions.add(torch.cat(outputs, dim=1), batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Choose the share of the network, and log the loss and the macro AUROC over the studies of all ranks."""
        count = self.targets.outputs
        outputs, labels = self._predictions.take(
            count if self.linear_path is None else 2 * count, len(self.targets.targets), self.targets.center.device
        )
        if self.linear_path is not None:
            network, linear = outputs[:, :count], outputs[:, count:]
            if self.trainer.state.fn == TrainerFn.FITTING:  # within it, `trainer.training` is false here
                choose_share(self.linear_path, self.targets, network, linear, labels)
            self.log("val/network_share", float(self.linear_path.share))
            outputs = self.linear_path.averaged(network, linear)
        for name, value in measure(self.targets, outputs, labels).items():
            self.log(f"val/{name}", value, sync_dist=True, prog_bar=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B K"]:
        """Return the predictions of a batch."""
        predictions: Tensor = self(batch)
        return predictions

    def configure_optimizers(self) -> Any:
        """Return AdamW with a warm-up and cosine schedule, and layer-wise learning rates."""
        scales = {f"encoders.{name}": scale for name, scale in layer_scales(self.encoders, self.layer_decay).items()}
        return adamw_cosine(self, lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup, scales=scales)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients, including sharded ones."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _drop_modalities(self, present: Mapping[str, Bool[Tensor, " B"]]) -> Mapping[str, Bool[Tensor, " B"]]:
        """Return the masks after modality dropout."""
        if not self.modality_dropout:
            return present
        before = torch.stack(list(present.values()))
        draws = torch.rand(before.shape, device=before.device)
        after = before & (draws >= self.modality_dropout)
        # Each study keeps the modality with its largest draw, so that none becomes empty.
        largest = draws.masked_fill(~before, -1.0).argmax(dim=0)
        after |= before & torch.zeros_like(before).scatter(0, largest[None], value=True)
        return dict(zip(present, after, strict=True))
