"""Contrastive pretraining of one encoder per modality."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from polyclinic.data import Batch
from polyclinic.modality import Modality
from polyclinic.models.towers import build_encoders, build_heads
from polyclinic.nn import Adapter, Encoder
from polyclinic.objectives import EmbeddingBatch, Objective, gather_embeddings
from polyclinic.system.names import refuse_unknown
from polyclinic.tasks.adapting import AdaptingTask, checked_adapters
from polyclinic.tasks.encode import encode_batch, zero_dependency
from polyclinic.tasks.losses import SAME, batch_groups, naming_studies, refuse_non_finite
from polyclinic.tasks.optimizer import adamw_cosine, clip_gradients
from polyclinic.tasks.validation import Diagnostics, Monitor


class ContrastivePretraining(AdaptingTask):
    """Aligns the modalities of a study with an objective.

    Args:
        modalities: plugins by name; linked from ``data.modalities`` by the command line.
        objective: contrastive loss with its scoring rule.
        encoders: encoders by modality, in place of the default ones.
        size: size of the default encoders, a key of ``nn.SIZES``.
        adapters: selection of the trained weights of an encoder (``Frozen``, ``polyclinic.nn.lora.Lora``), by modality;
            all weights of the others. Frozen encoders stay in evaluation mode.
        embedding: shared width d; null for encoders that have this width, without projection.
        hidden: hidden width of the projection heads; 0 for linear ones.
        subsets: subsets of two modalities or more on which each step also applies the objective, such as those that
            queries will use. A subset that is listed twice has twice the weight.
        random_subsets: number of additional subsets that each step draws at random. With an objective over complete
            tuples, only subsets allow scores from some of the modalities, and training on studies with missing ones.
        hub: modality in every random subset, such as that of the prompts; none unless set.
        same: studies that form a group, are not negatives of each other, and are positives for some objectives and
            terms: views of one ``study``, studies of one ``patient``, or studies with equal ``labels``; none unless
            set.
        micro_batch: studies per encoder call, for batches larger than memory; the complete batch when 0. The backward
            pass recomputes activations, and gradients are those of the complete batch. An encoder with batch
            normalisation sees the micro-batch only.
        lr: peak learning rate.
        weight_decay: weight decay of matrices.
        warmup: share of all steps in which the learning rate rises.
        seed: seed of the random subsets.

    Raises:
        ValueError: there are fewer than two modalities, a setting refers to an unknown modality, or is out of range.
    """

    def __init__(
        self,
        *,
        modalities: dict[str, Modality],
        objective: Objective,
        encoders: dict[str, Encoder] | None = None,
        size: str = "nano",
        adapters: dict[str, Adapter] | None = None,
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
        _check_names(modalities, hub=hub, subsets=subsets, referenced=objective.referenced_modalities)
        self.adapters = checked_adapters(adapters, modalities)
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
        self._last_counted_epoch = -1

    @property
    def monitor(self) -> Monitor:
        """The validation metric that chooses the best weights: the loss of the objective."""
        return Monitor("val/loss", "min")

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "B d"]]:
        """Return unnormalised embeddings per modality; zeros where a study lacks it."""
        return encode_batch(self.encoders, self.heads, batch, at_once=self.micro_batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean of the objective over all modalities, the fixed subsets and the random subsets."""
        with naming_studies(batch):
            studies = gather_embeddings(EmbeddingBatch.of(self(batch), batch.present, batch_groups(batch, self.same)))
            chosen = Counter([tuple(studies.embeddings), *self._draw_subsets(list(studies.embeddings))]) + self.subsets
            losses = [weight * self.objective.loss(studies.only(names)) for names, weight in chosen.items()]
        # The temperature needs a gradient (of zero) even if no study of the batch has two modalities.
        loss: Tensor = sum(losses, start=zero_dependency([self.objective], losses[0].device)) / chosen.total()
        refuse_non_finite(loss, batch)
        self.log("train/loss", loss, batch_size=len(batch), prog_bar=True)
        self.log("train/scale", self.objective.scale(), batch_size=len(batch))
        if self._last_counted_epoch != self.current_epoch:
            # Not `batch_idx == 0`, which a resumed epoch may skip.
            self._last_counted_epoch = self.current_epoch
            self.log("train/negatives", self.objective.negatives(studies), batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the objective over all modalities and over all pairs of this rank's studies, without random subsets."""
        studies = EmbeddingBatch.of(self(batch), batch.present, batch_groups(batch, self.same))
        pairs = [self.objective.loss(studies.only(pair)) for pair in combinations(studies.embeddings, 2)]
        self.log("val/loss", self.objective.loss(studies), batch_size=len(batch), sync_dist=True, prog_bar=True)
        self.log("val/pair_loss", sum(pairs) / len(pairs), batch_size=len(batch), sync_dist=True)
        self.log("val/negatives", self.objective.negatives(studies), batch_size=len(batch), sync_dist=True)
        self.diagnostics.add(studies)

    def on_validation_epoch_end(self) -> None:
        """Log the diagnostics of the embeddings of all ranks, and those of the objective."""
        studies = self.diagnostics.take()
        diagnostics = {**self.diagnostics.measure(studies), **self.objective.diagnostics(studies)}
        for name, value in diagnostics.items():
            self.log(f"val/{name}", value, sync_dist=True)
        self.log("val/scale", self.objective.scale(), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Float[Tensor, "B d"]]:
        """Return the embeddings of a batch."""
        embeddings: dict[str, Tensor] = self(batch)
        return embeddings

    def configure_optimizers(self) -> Any:
        """Return AdamW with a warm-up and cosine schedule."""
        return adamw_cosine(self, lr=self.lr, weight_decay=self.weight_decay, warmup=self.warmup)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the gradients, including sharded ones."""
        clip_gradients(self, optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _draw_subsets(self, names: list[str]) -> list[tuple[str, ...]]:
        """Draw subsets that depend only on the seed and the step, and are the same on every rank."""
        if len(names) == 2:
            return []
        rng = np.random.default_rng([self.seed, self.global_step])
        fixed = [name for name in names if name == self.hub]
        free = [name for name in names if name != self.hub]
        sizes = rng.integers(2 - len(fixed), len(free) + 1, size=self.random_subsets)
        return [(*rng.choice(free, size=size, replace=False).tolist(), *fixed) for size in sizes]


def _check_names(
    modalities: Mapping[str, Modality], *, hub: str | None, subsets: Sequence[Sequence[str]], referenced: frozenset[str]
) -> None:
    refuse_unknown("modality", sorted(referenced), modalities, "correct `model.objective`, which names it")
    refuse_unknown("hub", [] if hub is None else [hub], modalities, "set `model.hub`, or null for none")
    for names in subsets:
        if isinstance(names, str) or len(set(names)) < 2 or not set(names) <= set(modalities):
            raise ValueError(
                f"got subset {names!r}, expected two or more of {list(modalities)}; set `model.subsets`, such as "
                "[[xray, report]]"
            )
