"""Fusion with learned stand-ins for absent modalities."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.fusion.concatenation import perceptron
from polyclinic.nn.fusion.fusion import Fused, Fusion


class StandInFusion(Fusion):
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
