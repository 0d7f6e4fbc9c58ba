"""From one vector per modality to one prediction, with any of them missing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.distributed import sum_with_gradient, world_size


class Readout(NamedTuple):
    """What was predicted on the way, and of which studies that is a prediction of its own."""

    outputs: Float[Tensor, "B K"]
    rows: Bool[Tensor, " B"]


class Fused(NamedTuple):
    """A fusion's result.

    Attributes:
        outputs: the prediction of B studies.
        earlier: readouts on the way to it, which are trained too; none for most fusions.
        penalty: to be added to the loss.
    """

    outputs: Float[Tensor, "B K"]
    earlier: tuple[Readout, ...]
    penalty: Float[Tensor, ""] | float


class Fusion(nn.Module, ABC):
    """Predicts ``K`` outputs from the features of the modalities that a study has.

    A constructor takes ``widths`` (of each modality's features, by name, in their order) and ``outputs`` (K) first,
    then settings by keyword. What the features of an absent modality hold must not matter.
    """

    @abstractmethod
    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse the features of B studies, any of which may lack any modality, or all."""


class AttentionFusion(Fusion):
    """A learned query for each head attends to the modalities that are there (Lee et al. 2019, "Set Transformer", PMA).

    A learned token that is always there is what a study without any modality is read from.

    Args:
        widths: of each modality's features.
        outputs: K.
        width: common width of the modalities' tokens; a multiple of ``heads``.
        heads: of the attention.
        hidden: width between the two layers that predict; 0 for one linear map.
    """

    def __init__(
        self, widths: dict[str, int], outputs: int, *, width: int = 64, heads: int = 4, hidden: int = 128
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"got width {width} with {heads} heads; set `width` to a multiple of `heads`")
        self.heads = heads
        # The bias of each map is what tells its modality.
        self.enter = nn.ModuleDict({name: nn.Linear(one, width) for name, one in widths.items()})
        self.norm = nn.LayerNorm(width)
        self.always = nn.Parameter(torch.zeros(1, 1, width))
        self.query = nn.Parameter(torch.randn(1, heads, 1, width // heads) * (width // heads) ** -0.5)
        self.key_value = nn.Linear(width, 2 * width)
        self.predict = perceptron(width, hidden, outputs)

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse."""
        entered = torch.stack([layer(features[name]) for name, layer in self.enter.items()], dim=1)
        batch, _, width = entered.shape
        tokens = torch.cat([self.always.to(entered.dtype).expand(batch, 1, width), entered], dim=1)
        there = torch.stack([present[name] for name in self.enter], dim=1)
        mask = F.pad(there, (1, 0), value=True)[:, None, None, :]
        key, value = self.key_value(self.norm(tokens)).view(batch, len(self.enter) + 1, 2, self.heads, -1).unbind(2)
        query = self.query.to(entered.dtype).expand(batch, -1, -1, -1)
        pooled = F.scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask)
        return Fused(self.predict(pooled.flatten(1)), (), 0.0)


class ConcatenationFusion(Fusion):
    """All features side by side, a learned vector in place of an absent modality, and a two-layer perceptron.

    Args:
        widths: of each modality's features.
        outputs: K.
        hidden: width between the two layers; 0 for one linear map.
    """

    def __init__(self, widths: dict[str, int], outputs: int, *, hidden: int = 128) -> None:
        super().__init__()
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name, width in widths.items()})
        self.predict = perceptron(sum(widths.values()), hidden, outputs)

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse."""
        filled = [
            torch.where(present[name][:, None], features[name], vector.to(features[name].dtype))
            for name, vector in self.absent.items()
        ]
        return Fused(self.predict(torch.cat(filled, dim=1)), (), 0.0)


def perceptron(width: int, hidden: int, outputs: int) -> nn.Module:
    """A linear map, or two with a hidden layer between them."""
    if not hidden:
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class SequentialFusion(Fusion):
    """A learned state that the modalities of a study change one after the other, read out after each.

    MultiModN (Swamy et al. 2023, section 3): an absent modality leaves the state as it is, so that nothing in a study
    says what it lacks, and whether something lacks cannot be learned as a shortcut. The published code skips by batch,
    this by study. Every state is read out and trained; a penalty keeps modalities from rewriting the state.

    Args:
        widths: of each modality's features, in the order in which they are taken.
        outputs: K.
        state: width of the state.
        hidden: width between the two layers of a modality's change of the state.
        shuffled: whether training takes the modalities of each batch in a random order.
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
        self.change = nn.ModuleDict({name: perceptron(state + one, hidden, state) for name, one in widths.items()})
        self.norm = nn.LayerNorm(state)
        self.predict = nn.Linear(state, outputs)
        self.shuffled, self.change_penalty = shuffled, change_penalty

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse."""
        names = self._order()
        batch = len(present[names[0]])
        state = self.start.to(features[names[0]].dtype).expand(batch, -1)
        states, changed = [Readout(self._read(state), torch.ones_like(present[names[0]]))], []
        for name in names:
            moved = self.change[name](torch.cat([self.norm(state), features[name]], dim=1))
            there = present[name]
            state = torch.where(there[:, None], state + moved, state)
            states.append(Readout(self._read(state), there))
            changed.append(torch.square(moved).mean(dim=1) * there)
        some = torch.stack([present[name] for name in names]).sum().float()
        if self.training:
            # Ranks average their gradients: each divides by a rank's share of what all of them have.
            some = sum_with_gradient(some) / world_size()
        penalty = self.change_penalty * torch.stack(changed).sum() / some.clamp_min(1 / world_size())
        return Fused(states[-1].outputs, tuple(states), penalty)

    def _order(self) -> list[str]:
        names = list(self.change)
        if not (self.training and self.shuffled):
            return names
        return [names[place] for place in torch.randperm(len(names)).tolist()]

    def _read(self, state: Float[Tensor, "B S"]) -> Float[Tensor, "B K"]:
        outputs: Tensor = self.predict(self.norm(state))
        return outputs


class PromptPoolFusion(Fusion):
    """Concatenation in which an absent modality is stood in for by entries of a learned pool.

    After PTUnifier (Chen et al. 2023, section 3.2): what the modalities that are there look like is compared with a
    key for each entry, and the entries whose keys lie nearest by cosine stand in. Here they are averaged by the
    softmax of their similarities, through which keys learn, to one vector as all other modalities are.

    Args:
        widths: of each modality's features.
        outputs: K.
        pool: entries of each modality.
        chosen: entries that stand in for a modality, at most ``pool``.
        width: of queries and keys.
        hidden: width between the two layers that predict; 0 for one linear map.
        temperature: of the softmax.
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
        self.enter = nn.ModuleDict({name: nn.Linear(one, width) for name, one in widths.items()})
        self.nothing = nn.Parameter(torch.randn(width) * width**-0.5)
        self.keys = nn.ParameterDict({name: nn.Parameter(torch.randn(pool, width) * width**-0.5) for name in widths})
        self.entries = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(pool, one) * 0.02) for name, one in widths.items()}
        )
        self.predict = perceptron(sum(widths.values()), hidden, outputs)

    def forward(self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]) -> Fused:
        """Fuse."""
        query = self._query(features, present)
        filled = [
            torch.where(present[name][:, None], features[name], self._stand_in(name, query)) for name in self.enter
        ]
        return Fused(self.predict(torch.cat(filled, dim=1)), (), 0.0)

    def _query(
        self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B W"]:
        """The mean of what is there, and a learned vector where nothing is."""
        entered = torch.stack([layer(features[name]) for name, layer in self.enter.items()], dim=1)
        weight = torch.stack([present[name] for name in self.enter], dim=1).to(entered.dtype)[:, :, None]
        mean = (entered * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)
        return torch.where(weight.sum(dim=1) > 0, mean, self.nothing.to(entered.dtype))

    def _stand_in(self, name: str, query: Float[Tensor, "B W"]) -> Float[Tensor, "B _"]:
        similarity = F.normalize(query, dim=1) @ F.normalize(self.keys[name], dim=1).to(query.dtype).T
        best = similarity.topk(self.chosen, dim=1)
        share = torch.softmax(best.values / self.temperature, dim=1)
        return (share[:, :, None] * self.entries[name].to(query.dtype)[best.indices]).sum(dim=1)
