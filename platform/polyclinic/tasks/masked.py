"""Masked-autoencoder pretraining of one modality, or of several jointly."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer

from polyclinic.data import Batch
from polyclinic.modality import Modality
from polyclinic.models.towers import build_encoders
from polyclinic.nn import Adapter, Encoder, MaskableEncoder, MaskedDecoders, Tokens, Visible
from polyclinic.tasks.adapting import AdaptingTask, checked_adapters
from polyclinic.tasks.encode import dummy_inputs, without_readout, zero_dependency
from polyclinic.tasks.losses import mean_over_modalities, naming_studies, refuse_non_finite
from polyclinic.tasks.masks import Masks, by_modality
from polyclinic.tasks.optimizer import adamw_cosine, clip_gradients
from polyclinic.tasks.validation import Monitor


class MaskedPretraining(AdaptingTask):
    """Hides tokens and predicts their content; the encoders compute the visible tokens only.

    One modality: He et al. (2022), "Masked autoencoders are scalable vision learners". Several modalities: each has an
    encoder, a joint encoder mixes the visible tokens of all, and each decoder attends to them (after Bachmann et al.
    2022, "MultiMAE"). A missing modality has no tokens and no loss.

    Args:
        modalities: plugins by name; linked from ``data.modalities`` by the command line.
        encoders: encoders by modality, in place of the default ones.
        size: size of the default encoders, a key of ``nn.SIZES``.
        adapters: selection of the trained weights of an encoder, by modality; see ``ContrastivePretraining``.
        ratios: share of the tokens to hide, by modality; the plugin's default unless set.
        budget: visible tokens per study, divided among its modalities by Dirichlet draws around the shares that
            ``ratios`` leave visible; 0 to use only ``ratios``.
        concentration: concentration of these draws; larger values stay closer to ``ratios``.
        whole: share of the steps in which each study instead hides one modality completely and no other token, as in
            the imputation of a missing modality.
        joint_width: width of the joint encoder, which exists for several modalities only.
        joint_depth: number of blocks of the joint encoder.
        joint_heads: attention heads of the joint encoder.
        read_depths: number of joint blocks before a modality is decoded; all blocks unless set.
        decoder_width: width of the decoders.
        decoder_depth: number of blocks of the decoders.
        decoder_heads: attention heads of the decoders.
        weights: weights of the losses by modality; 1 unless set.
        lr: peak learning rate.
        weight_decay: weight decay of matrices.
        warmup: share of all steps in which the learning rate rises.
        seed: seed of the masks.

    Raises:
        ValueError: an encoder cannot omit tokens, or a setting is out of range.
    """

    def __init__(
        self,
        *,
        modalities: dict[str, Modality],
        encoders: dict[str, Encoder] | None = None,
        size: str = "nano",
        adapters: dict[str, Adapter] | None = None,
        ratios: dict[str, float] | None = None,
        budget: int = 0,
        concentration: float = 1.0,
        whole: float = 0.0,
        joint_width: int = 128,
        joint_depth: int = 2,
        joint_heads: int = 4,
        read_depths: dict[str, int] | None = None,
        decoder_width: int = 64,
        decoder_depth: int = 1,
        decoder_heads: int = 4,
        weights: dict[str, float] | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        warmup: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        built = without_readout(build_encoders(modalities, size=size, given=encoders))
        self.encoders = nn.ModuleDict(built)
        self.adapters = checked_adapters(adapters, modalities)
        self.decoders = MaskedDecoders(
            encoders=built, joint_width=joint_width, joint_depth=joint_depth, joint_heads=joint_heads,
            read_depths=read_depths or {}, width=decoder_width, depth=decoder_depth, heads=decoder_heads,
        )  # fmt: skip
        default_ratios = {name: self.decoders.reconstruction(name).ratio for name in built}
        self.masks = Masks(
            ratios=by_modality(default_ratios, ratios, "ratios"),
            budget=budget,
            concentration=concentration,
            whole=whole,
            seed=seed,
        )
        self.weights = by_modality(dict.fromkeys(built, 1.0), weights, "weights")
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup

    @property
    def monitor(self) -> Monitor:
        """The validation metric that chooses the best weights: the loss over hidden tokens."""
        return Monitor("val/loss", "min")

    def forward(self, batch: Batch, hidden: Mapping[str, Bool[Tensor, "_ _"]]) -> dict[str, Float[Tensor, "_ _"]]:
        """Predict the content of the hidden tokens of each modality in the batch."""
        return self._predict(batch, hidden)[0]

    def draw_masks(self, batch: Batch, step: int = 0) -> dict[str, Bool[Tensor, "_ _"]]:
        """Draw the hidden tokens of a training step, counted from 1; evaluation is step 0."""
        units = {name: self.decoders.reconstruction(name).units(inputs) for name, inputs in batch.inputs.items()}
        return self.masks.draw(units, batch.present, batch.study_ids, step)

    def losses(
        self,
        batch: Batch,
        hidden: Mapping[str, Bool[Tensor, "_ _"]],
        predicted: Mapping[str, Float[Tensor, "_ _"]],
    ) -> dict[str, Float[Tensor, " _"]]:
        """Return the loss of each hidden token, by modality."""
        losses = {}
        for name, values in predicted.items():
            reconstruction = self.decoders.reconstruction(name)
            losses[name] = reconstruction.loss(values, reconstruction.targets(batch.inputs[name], hidden[name]))
        return losses

    @torch.no_grad()
    def impute(self, batch: Batch, wanted: Collection[str]) -> dict[str, dict[str, Tensor]]:
        """Impute modalities for the studies that lack them and have another; see ``MaskedDecoders.impute``."""
        return self.decoders.impute(self._visible(self._tokens(batch.inputs), {}), batch.present, wanted)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean loss of each modality over the hidden tokens of all ranks, averaged over modalities."""
        losses, zero = self._step("train", batch, self.global_step + 1)
        absent = [encoder for name, encoder in self.encoders.items() if name not in batch.inputs]
        idle = zero_dependency([*absent, *self.decoders.idle(batch.inputs)], batch.labels.device)
        loss = mean_over_modalities(losses, self.weights, idle + zero)
        refuse_non_finite(loss, batch)
        self.log("train/loss", loss, batch_size=len(batch), sync_dist=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss of each modality on the validation split, with masks that do not change."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Same as ``validation_step``, on the test split."""
        self._evaluate("test", batch)

    def configure_optimizers(self) -> Any:
        """Return AdamW with a warm-up and cosine schedule."""
        return adamw_cosine(self, lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients, including sharded ones."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _encoder(self, name: str) -> MaskableEncoder:
        encoder = self.encoders[name]
        assert isinstance(encoder, MaskableEncoder)
        return encoder

    def _tokens(self, inputs: Mapping[str, dict[str, Tensor]]) -> dict[str, Tokens]:
        return {name: self._encoder(name).tokenize(inputs[name]) for name in self.encoders if name in inputs}

    def _visible(self, tokens: Mapping[str, Tokens], hidden: Mapping[str, Bool[Tensor, "_ _"]]) -> dict[str, Visible]:
        none = {name: torch.zeros_like(each.padding) for name, each in tokens.items()}
        return {name: self._encoder(name).encode(each, hidden.get(name, none[name])) for name, each in tokens.items()}

    def _predict(
        self, batch: Batch, hidden: Mapping[str, Bool[Tensor, "_ _"]]
    ) -> tuple[dict[str, Float[Tensor, "_ _"]], Float[Tensor, ""]]:
        """Return the predictions, and a zero with a gradient path to the encoders of dummy forward passes."""
        dummies = dummy_inputs(self.encoders, batch.inputs, batch.labels.device)
        tokens = self._tokens({**batch.inputs, **{name: dummy.study for name, dummy in dummies.items()}})
        visible = self._visible(tokens, hidden)
        zeros = [visible.pop(name).tokens[:0].sum() for name in dummies]
        padding = {name: tokens[name].padding for name in visible}
        predicted: dict[str, Tensor] = self.decoders(visible, batch.present, batch.inputs, padding, hidden)
        return predicted, sum(zeros, start=batch.labels.new_zeros(()))

    def _step(self, stage: str, batch: Batch, step: int) -> tuple[dict[str, Float[Tensor, " _"]], Float[Tensor, ""]]:
        """Log the mean loss of each modality; return the losses, and the zero of ``_predict``."""
        hidden = self.draw_masks(batch, step)
        with naming_studies(batch):
            predicted, zero = self._predict(batch, hidden)
            losses = self.losses(batch, hidden, predicted)
        for name in self.encoders:
            value = losses.get(name, batch.labels.new_zeros(0))
            mean = value.sum() / max(1, len(value))
            self.log(f"{stage}/loss/{name}", mean, batch_size=len(value), sync_dist=stage != "train")
        return losses, zero

    def _evaluate(self, stage: str, batch: Batch) -> None:
        losses, zero = self._step(stage, batch, 0)
        mean = mean_over_modalities(losses, self.weights, zero, ranks=False)
        self.log(f"{stage}/loss", mean, batch_size=len(batch), sync_dist=True, prog_bar=True)
