"""Contrastive pretraining of one encoder per modality."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import lightning.pytorch as L
import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from polyclinic.data import Batch
from polyclinic.modality import Modality
from polyclinic.models.towers import build_encoders, build_heads
from polyclinic.nn import Encoder
from polyclinic.objectives import EmbeddingBatch, Objective, gather_embeddings
from polyclinic.tasks.encode import encode_batch, zero_dependency
from polyclinic.tasks.losses import SAME, batch_groups, naming_studies, refuse_non_finite
from polyclinic.tasks.optimizer import adamw_cosine, clip_gradients
from polyclinic.tasks.validation import Diagnostics


class ContrastivePretraining(L.LightningModule):
    """Aligns the modalities of a study with an objective.

    Args:
        modalities: by name; linked from ``data.modalities`` by the command line.
        objective: the loss, and the scoring rule later on.
        encoders: by modality, in place of the default ones.
        size: of the default encoders, a key of ``nn.SIZES``.
        embedding: shared width d; null where the encoders end in it themselves, and nothing is projected.
        hidden: hidden width of the projection heads; 0 for linear ones.
        subsets: subsets of the modalities, of two or more each, on which every step also applies the objective: those
            that will be queried later. One that is listed twice weighs twice.
        random_subsets: how many more subsets each step draws at random. With an objective over whole tuples, subsets
            are what lets a subset be scored later, and lets a study with some modalities missing train on those it
            has.
        hub: a modality that every random subset contains, such as the one that prompts are written in; none
            unless set.
        same: which studies are no negatives of each other (and positives for the objectives and terms that say so):
            views of one ``study``, studies of one ``patient``, or studies with equal ``labels``; none unless set.
        micro_batch: studies that an encoder sees at a time, for batches larger than memory: activations are computed
            again in the backward pass, gradients are those of the whole batch; all at once when 0. An encoder that
            normalises over its batch would see the smaller one.
        lr: peak learning rate.
        weight_decay: of matrices.
        warmup: share of all steps in which the learning rate rises.
        seed: of the subsets.
    """

    def __init__(
        self,
        *,
        modalities: dict[str, Modality],
        objective: Objective,
        encoders: dict[str, Encoder] | None = None,
        size: str = "nano",
        embedding: int | None = 128,
        hidden: int = 0,
        subsets: Sequence[Sequence[str]] = (),
        random_subsets: int = 0,
        hub: str | None = None,
        same: str | None = None,
        micro_batch: int = 0,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        warmup: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(modalities) < 2:
            raise ValueError(f"got modalities {list(modalities)}, expected at least two; set `data.modalities`")
        self.objective = objective
        built = build_encoders(modalities, size=size, given=encoders)
        self.encoders = nn.ModuleDict(built)
        self.heads = nn.ModuleDict(build_heads(built, embedding=embedding, hidden=hidden, neutral=objective.neutral))
        _check_names(modalities, hub=hub, subsets=subsets, named=objective.named)
        if same not in (None, *SAME) or micro_batch < 0:
            raise ValueError(
                f"got same {same!r} and micro_batch {micro_batch}, expected same null or one of {SAME} and "
                "micro_batch 0 or more; set them in `model`"
            )
        self.subsets = Counter(tuple(names) for names in subsets)
        self.random_subsets, self.hub, self.seed = random_subsets, hub, seed
        self.same, self.micro_batch = same, micro_batch
        self.lr, self.weight_decay, self.warmup = lr, weight_decay, warmup
        self.diagnostics = Diagnostics()
        self._counted = -1

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "B d"]]:
        """Unnormalised embeddings per modality; zeros where a study lacks it."""
        return encode_batch(self.encoders, self.heads, batch, at_once=self.micro_batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """The objective on all modalities, on the fixed subsets and on this step's random ones, averaged."""
        with naming_studies(batch):
            studies = gather_embeddings(EmbeddingBatch.of(self(batch), batch.present, batch_groups(batch, self.same)))
            chosen = Counter([tuple(studies.embeddings), *self._draw_subsets(list(studies.embeddings))]) + self.subsets
            losses = [weight * self.objective.loss(studies.only(names)) for names, weight in chosen.items()]
        # Where no two modalities meet in the batch, the temperature gets a gradient all the same: of zero.
        loss: Tensor = sum(losses, start=zero_dependency([self.objective], losses[0].device)) / chosen.total()
        refuse_non_finite(loss, batch)
        self.log("train/loss", loss, batch_size=len(batch))
        self.log("train/scale", self.objective.scale(), batch_size=len(batch))
        if self._counted != self.current_epoch:
            # Not by the batch's number: a resumed epoch begins with another one.
            self._counted = self.current_epoch
            self.log("train/negatives", self.objective.negatives(studies), batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The objective on all pairs and on all modalities of this rank's studies, without anything random."""
        studies = EmbeddingBatch.of(self(batch), batch.present, batch_groups(batch, self.same))
        pairs = [self.objective.loss(studies.only(pair)) for pair in combinations(studies.embeddings, 2)]
        self.log("val/loss", self.objective.loss(studies), batch_size=len(batch), sync_dist=True)
        self.log("val/pair_loss", sum(pairs) / len(pairs), batch_size=len(batch), sync_dist=True)
        self.log("val/negatives", self.objective.negatives(studies), batch_size=len(batch), sync_dist=True)
        self.diagnostics.add(studies)

    def on_validation_epoch_end(self) -> None:
        """How the embeddings of all ranks lie, and what the objective tells of itself."""
        studies = self.diagnostics.take()
        readings = {**self.diagnostics.measure(studies), **self.objective.readings(studies)}
        for name, value in readings.items():
            self.log(f"val/{name}", value, sync_dist=True)
        self.log("val/scale", self.objective.scale(), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Float[Tensor, "B d"]]:
        """The embeddings."""
        embedded: dict[str, Tensor] = self(batch)
        return embedded

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine."""
        return adamw_cosine(self, lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Over the gradients of all ranks' shares."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _draw_subsets(self, names: list[str]) -> list[tuple[str, ...]]:
        """The same on every rank, because they follow from the step alone."""
        if len(names) == 2:
            return []
        rng = np.random.default_rng([self.seed, self.global_step])
        fixed = [name for name in names if name == self.hub]
        free = [name for name in names if name != self.hub]
        sizes = rng.integers(2 - len(fixed), len(free) + 1, size=self.random_subsets)
        return [(*rng.choice(free, size=size, replace=False).tolist(), *fixed) for size in sizes]


def _check_names(
    modalities: Mapping[str, Modality], *, hub: str | None, subsets: Sequence[Sequence[str]], named: frozenset[str]
) -> None:
    if unknown := sorted(named - set(modalities)):
        raise ValueError(f"`model.objective` names {unknown}, expected some of {list(modalities)}; correct it")
    if hub is not None and hub not in modalities:
        raise ValueError(f"got hub {hub!r}, expected one of {list(modalities)} or null; set `model.hub`")
    for names in subsets:
        if isinstance(names, str) or len(set(names)) < 2 or not set(names) <= set(modalities):
            raise ValueError(
                f"got subset {names!r}, expected two or more of {list(modalities)}; set `model.subsets`, such as "
                "[[xray, report]]"
            )
