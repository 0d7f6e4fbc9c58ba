"""Masked-autoencoder pretraining of one modality, or of several together."""

from collections.abc import Collection, Mapping
from typing import Any

import lightning.pytorch as L
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer

from polyclinic.data import Batch
from polyclinic.modality import Modality
from polyclinic.models.towers import build_encoders
from polyclinic.nn import Encoder, MaskableEncoder, MaskedDecoders, Tokens, Visible
from polyclinic.tasks.encode import dummy_inputs, without_readout, zero_dependency
from polyclinic.tasks.losses import mean_over_modalities, naming_studies, refuse_non_finite
from polyclinic.tasks.masks import Masks, by_modality
from polyclinic.tasks.optimizer import adamw_cosine, clip_gradients


class MaskedPretraining(L.LightningModule):
    """Hides tokens and predicts what they hid, computing no more than the visible ones in the encoders.

    One modality: He et al. (2022), "Masked autoencoders are scalable vision learners". Several: each has an encoder of
    its own, a joint encoder mixes the visible tokens of all, and each decoder attends to them (after Bachmann et al.
    2022, "MultiMAE"). A modality that a study lacks takes no place and is in no loss.

    Args:
        modalities: by name; linked from ``data.modalities`` by the command line.
        encoders: by modality, in place of the default ones.
        size: of the default encoders, a key of ``nn.SIZES``.
        ratios: share of a modality's tokens to hide; what is not named hides what its plugin thinks right.
        budget: visible tokens of a study, shared out among its modalities by Dirichlet draws around what ``ratios``
            would leave; 0 hides by ``ratios`` alone.
        concentration: of these draws; the larger, the closer to ``ratios``.
        whole: share of the steps in which, instead, each study hides one of its modalities whole and shows all else,
            which is what predicting a missing one will ask.
        joint_width: width of the joint encoder, which only several modalities have.
        joint_depth: its blocks.
        joint_heads: its attention heads.
        read_depths: after how many of its blocks a modality is decoded; after the last unless named.
        decoder_width: width of the decoders.
        decoder_depth: their blocks.
        decoder_heads: their attention heads.
        weights: of each modality's loss, 1 unless named.
        lr: peak learning rate.
        weight_decay: of matrices.
        warmup: share of all steps in which the learning rate rises.
        seed: of the masks.

    Raises:
        ValueError: an encoder that cannot leave tokens out, or a setting out of range.
    """

    def __init__(
        self,
        *,
        modalities: dict[str, Modality],
        encoders: dict[str, Encoder] | None = None,
        size: str = "nano",
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
        self.decoders = MaskedDecoders(
            encoders=built, joint_width=joint_width, joint_depth=joint_depth, joint_heads=joint_heads,
            read_depths=read_depths or {}, width=decoder_width, depth=decoder_depth, heads=decoder_heads,
        )  # fmt: skip
        usual = {name: self.decoders.reconstruction(name).ratio for name in built}
        self.masks = Masks(
            ratios=by_modality(usual, ratios, "ratios"),
            budget=budget,
            concentration=concentration,
            whole=whole,
            seed=seed,
        )
        self.weights = by_modality(dict.fromkeys(built, 1.0), weights, "weights")
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup

    def forward(self, batch: Batch, hidden: Mapping[str, Bool[Tensor, "_ _"]]) -> dict[str, Float[Tensor, "_ _"]]:
        """Predict, for each modality that the batch has, what its hidden tokens hide."""
        return self._predict(batch, hidden)[0]

    def draw_masks(self, batch: Batch, step: int = 0) -> dict[str, Bool[Tensor, "_ _"]]:
        """Which tokens a training step, counted from 1, hides; evaluation is step 0."""
        units = {name: self.decoders.reconstruction(name).units(inputs) for name, inputs in batch.inputs.items()}
        return self.masks.draw(units, batch.present, batch.study_ids, step)

    def losses(
        self,
        batch: Batch,
        hidden: Mapping[str, Bool[Tensor, "_ _"]],
        predicted: Mapping[str, Float[Tensor, "_ _"]],
    ) -> dict[str, Float[Tensor, " _"]]:
        """The loss of each hidden token, by modality."""
        told = {}
        for name, values in predicted.items():
            reconstruction = self.decoders.reconstruction(name)
            told[name] = reconstruction.loss(values, reconstruction.targets(batch.inputs[name], hidden[name]))
        return told

    @torch.no_grad()
    def impute(self, batch: Batch, wanted: Collection[str]) -> dict[str, dict[str, Tensor]]:
        """Predict modalities for the studies that lack them and have another; see ``MaskedDecoders.impute``."""
        return self.decoders.impute(self._visible(self._tokens(batch.inputs), {}), batch.present, wanted)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The mean loss of each modality over the hidden tokens of all ranks, averaged over modalities."""
        losses, zero = self._step("train", batch, self.global_step + 1)
        absent = [encoder for name, encoder in self.encoders.items() if name not in batch.inputs]
        idle = zero_dependency([*absent, *self.decoders.idle(batch.inputs)], batch.labels.device)
        loss = mean_over_modalities(losses, self.weights, idle + zero)
        refuse_non_finite(loss, batch)
        self.log("train/loss", loss, batch_size=len(batch), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss of each modality under masks that stay the same."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Likewise."""
        self._evaluate("test", batch)

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine."""
        return adamw_cosine(self, lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Over the gradients of all ranks' shares."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _encoder(self, name: str) -> MaskableEncoder:
        encoder = self.encoders[name]
        assert isinstance(encoder, MaskableEncoder)
        return encoder

    def _tokens(self, inputs: Mapping[str, dict[str, Tensor]]) -> dict[str, Tokens]:
        return {name: self._encoder(name).tokenize(inputs[name]) for name in self.encoders if name in inputs}

    def _visible(self, tokens: Mapping[str, Tokens], hidden: Mapping[str, Bool[Tensor, "_ _"]]) -> dict[str, Visible]:
        nothing = {name: torch.zeros_like(one.padding) for name, one in tokens.items()}
        return {name: self._encoder(name).encode(one, hidden.get(name, nothing[name])) for name, one in tokens.items()}

    def _predict(
        self, batch: Batch, hidden: Mapping[str, Bool[Tensor, "_ _"]]
    ) -> tuple[dict[str, Float[Tensor, "_ _"]], Float[Tensor, ""]]:
        """The predictions, and a zero with the graph of encoders that ran for other ranks alone."""
        lent = dummy_inputs(self.encoders, batch.inputs, batch.labels.device)
        tokens = self._tokens({**batch.inputs, **{name: one.study for name, one in lent.items()}})
        visible = self._visible(tokens, hidden)
        spare = [visible.pop(name).tokens[:0].sum() for name in lent]
        padding = {name: tokens[name].padding for name in visible}
        predicted: dict[str, Tensor] = self.decoders(visible, batch.present, batch.inputs, padding, hidden)
        return predicted, sum(spare, start=batch.labels.new_zeros(()))

    def _step(self, stage: str, batch: Batch, step: int) -> tuple[dict[str, Float[Tensor, " _"]], Float[Tensor, ""]]:
        """The losses under a step's masks, their means logged by modality, and the zero of ``_predict``."""
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
        self.log(f"{stage}/loss", mean, batch_size=len(batch), sync_dist=True)
