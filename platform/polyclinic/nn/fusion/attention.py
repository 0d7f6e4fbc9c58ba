"""Fusion by attention pooling."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.fusion.concatenation import perceptron
from polyclinic.nn.fusion.fusion import Fused, Fusion


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
