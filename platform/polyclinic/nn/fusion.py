"""Fusion of one vector per modality to one prediction, with missing modalities."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.distributed import sum_with_gradient, world_size


class Readout(NamedTuple):
    """An intermediate prediction, and the mask of the studies for which it differs from the one before."""

    outputs: Float[Tensor, "B K"]
    rows: Bool[Tensor, " B"]


class Fused(NamedTuple):
    """The result of a fusion.

    Attributes:
        outputs: predictions for B studies.
        earlier: intermediate readouts to train in place of ``outputs``; most fusions have none.
        penalty: penalty to add to the loss.
    """

    outputs: Float[Tensor, "B K"]
    earlier: tuple[Readout, ...]
    penalty: Float[Tensor, ""] | float


class Fusion(nn.Module, ABC):
    """Predicts ``K`` outputs from the features of the modalities that a study has.

    A constructor has the arguments ``widths`` (widths of the features by modality, in order) and ``outputs`` (K),
    followed by keyword settings. The features of a missing modality must have no effect.
    """

    @abstractmethod
    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse the features of B studies, which may lack any modality, or all of them."""


class AttentionFusion(Fusion):
    """Attention of one learned query per head to the present modalities (Lee et al. 2019, "Set Transformer", PMA).

    An additional learned token is always present, so that a study without a modality has a prediction.

    Args:
        widths: widths of the features by modality.
        outputs: number of outputs K.
        width: common width of the modalities' tokens; a multiple of ``heads``.
        heads: number of attention heads.
        hidden: hidden width of the predictor; 0 for one linear map.
    """

    def __init__(
        self, widths: dict[str, int], outputs: int, *, width: int = 64, heads: int = 4, hidden: int = 128
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"got width {width} with {heads} heads; set `width` to a multiple of `heads`")
        self.heads = heads
        # The bias of each map serves as the embedding of its modality.
        self.enter = nn.ModuleDict({name: nn.Linear(size, width) for name, size in widths.items()})
        self.norm = nn.LayerNorm(width)
        self.always = nn.Parameter(torch.zeros(1, 1, width))
        self.query = nn.Parameter(torch.randn(1, heads, 1, width // heads) * (width // heads) ** -0.5)
        self.key_value = nn.Linear(width, 2 * width)
        self.predict = perceptron(width, hidden, outputs)

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse the features of B studies."""
        projected = torch.stack([layer(features[name]) for name, layer in self.enter.items()], dim=1)
        batch, _, width = projected.shape
        tokens = torch.cat([self.always.to(projected.dtype).expand(batch, 1, width), projected], dim=1)
        available = torch.stack([present[name] for name in self.enter], dim=1)
        mask = F.pad(available, (1, 0), value=True)[:, None, None, :]
        key, value = self.key_value(self.norm(tokens)).view(batch, len(self.enter) + 1, 2, self.heads, -1).unbind(2)
        query = self.query.to(projected.dtype).expand(batch, -1, -1, -1)
        pooled = F.scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask)
        return Fused(self.predict(pooled.flatten(1)), (), 0.0)


class ConcatenationFusion(Fusion):
    """A perceptron on the concatenated features, with a learned vector in place of a missing modality.

    Args:
        widths: widths of the features by modality.
        outputs: number of outputs K.
        hidden: hidden width of the predictor; 0 for one linear map.
    """

    def __init__(self, widths: dict[str, int], outputs: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name, width in widths.items()})
        self.predict = perceptron(sum(widths.values()), hidden, outputs)

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse the features of B studies."""
        filled = [
            torch.where(present[name][:, None], features[name], vector.to(features[name].dtype))
            for name, vector in self.absent.items()
        ]
        return Fused(self.predict(torch.cat(filled, dim=1)), (), 0.0)


def perceptron(width: int, hidden: int, outputs: int) -> nn.Module:
    """Build a two-layer perceptron, or one linear map if ``hidden`` is 0."""
    if not hidden:
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class SequentialFusion(Fusion):
    """A learned state, updated by one modality after the other, with a prediction from every state.

    MultiModN (Swamy et al. 2023, section 3): a missing modality does not change the state, so that missingness has no
    representation and cannot be learned as a shortcut. The published code skips a modality per batch, this class per
    study. All states are read out and trained; a penalty limits the changes of the state.

    Args:
        widths: widths of the features by modality, in the order of the updates.
        outputs: number of outputs K.
        state: width of the state.
        hidden: hidden width of the perceptrons that update the state.
        shuffled: whether training updates by the modalities in a random order for each batch.
        change_penalty: weight of the mean squared change of the state.
    """

    def __init__(
        self,
        widths: dict[str, int],
        outputs: int,
        *,
        state: int = 64,
        hidden: int = 64,
        shuffled: bool = False,
        change_penalty: float = 0.01,
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, state))
        self.change = nn.ModuleDict({name: perceptron(state + size, hidden, state) for name, size in widths.items()})
        self.norm = nn.LayerNorm(state)
        self.predict = nn.Linear(state, outputs)
        self.shuffled, self.change_penalty = shuffled, change_penalty

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse the features of B studies."""
        names = self._order()
        batch = len(present[names[0]])
        state = self.start.to(features[names[0]].dtype).expand(batch, -1)
        # The start state predicts every study; a later readout counts for the studies that its modality has changed.
        readouts, squares = [Readout(self._read(state), torch.ones_like(present[names[0]]))], []
        for name in names:
            change = self.change[name](torch.cat([self.norm(state), features[name]], dim=1))
            mask = present[name]
            state = torch.where(mask[:, None], state + change, state)
            readouts.append(Readout(self._read(state), mask))
            squares.append(torch.square(change).mean(dim=1) * mask)
        # The penalty is the mean squared change per update, that is per present modality of a study.
        updates = torch.stack([present[name] for name in names]).sum().float()
        if self.training:
            # With R ranks, gradients are averaged: (1/R) sum_r S_r / (U/R) = S/U, the mean over the updates U of all
            # ranks. Each rank therefore divides its sum S_r by U/R.
            updates = sum_with_gradient(updates) / world_size()
        # Without any update, divide by 1/R (U = 1) to avoid 0/0.
        penalty = self.change_penalty * torch.stack(squares).sum() / updates.clamp_min(1 / world_size())
        return Fused(readouts[-1].outputs, tuple(readouts), penalty)

    def _order(self) -> list[str]:
        names = list(self.change)
        if not (self.training and self.shuffled):
            return names
        return [names[index] for index in torch.randperm(len(names)).tolist()]

    def _read(self, state: Float[Tensor, "B S"]) -> Float[Tensor, "B K"]:
        outputs: Tensor = self.predict(self.norm(state))
        return outputs


class PromptPoolFusion(Fusion):
    """Concatenation in which a missing modality is imputed from a learned prompt pool.

    After PTUnifier (Chen et al. 2023, section 3.2): a query from the present modalities is compared with the key of
    each entry of the pool, and the entries with the nearest keys (by cosine) are used. Here they are averaged to one
    vector, weighted by the softmax of their similarities, through which the keys get a gradient.

    Args:
        widths: widths of the features by modality.
        outputs: number of outputs K.
        pool: number of entries per modality.
        chosen: number of entries to average, at most ``pool``.
        width: width of queries and keys.
        hidden: hidden width of the predictor; 0 for one linear map.
        temperature: temperature of the softmax.
    """

    def __init__(
        self,
        widths: dict[str, int],
        outputs: int,
        *,
        pool: int = 32,
        chosen: int = 4,
        width: int = 64,
        hidden: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if not 1 <= chosen <= pool or temperature <= 0:
            raise ValueError(
                f"got chosen {chosen} of pool {pool} at temperature {temperature}, expected 1 to `pool` entries and a "
                "positive temperature; set `chosen` and `temperature`"
            )
        self.chosen, self.temperature = chosen, temperature
        self.enter = nn.ModuleDict({name: nn.Linear(size, width) for name, size in widths.items()})
        self.nothing = nn.Parameter(torch.randn(width) * width**-0.5)
        self.keys = nn.ParameterDict({name: nn.Parameter(torch.randn(pool, width) * width**-0.5) for name in widths})
        self.entries = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(pool, size) * 0.02) for name, size in widths.items()}
        )
        self.predict = perceptron(sum(widths.values()), hidden, outputs)

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse the features of B studies."""
        query = self._query(features, present)
        filled = [torch.where(present[name][:, None], features[name], self._impute(name, query)) for name in self.enter]
        return Fused(self.predict(torch.cat(filled, dim=1)), (), 0.0)

    def _query(
        self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B W"]:
        """Average the projected present modalities; a learned vector for studies without any."""
        projected = torch.stack([layer(features[name]) for name, layer in self.enter.items()], dim=1)
        weight = torch.stack([present[name] for name in self.enter], dim=1).to(projected.dtype)[:, :, None]
        mean = (projected * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)
        return torch.where(weight.sum(dim=1) > 0, mean, self.nothing.to(projected.dtype))

    def _impute(self, name: str, query: Float[Tensor, "B W"]) -> Float[Tensor, "B _"]:
        similarity = F.normalize(query, dim=1) @ F.normalize(self.keys[name], dim=1).to(query.dtype).T
        nearest = similarity.topk(self.chosen, dim=1)
        share = torch.softmax(nearest.values / self.temperature, dim=1)
        return (share[:, :, None] * self.entries[name].to(query.dtype)[nearest.indices]).sum(dim=1)
