"""Fusion by a state that every modality changes in turn."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.distributed import sum_with_gradient, world_size
from polyclinic.nn.fusion.concatenation import perceptron
from polyclinic.nn.fusion.fusion import Fused, Fusion, Readout


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
