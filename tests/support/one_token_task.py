"""A task whose answer is a single token: an encoder trained to find it, and its position."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, Transformer, TransformerEncoder

_TOKENS, _VALUES, _WIDTH, _STEPS = 12, 4, 16, 150


class ValueTokenizer(Tokenizer):
    """Embeds ``values`` [B, T, V] where not ``padding`` [B, T]; a token has no position."""

    def __init__(self, *, values: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(values, width)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        values = self.embed(inputs["values"])
        return Tokens(values, torch.zeros_like(values[:1]), inputs["padding"])


def _draw(studies: int, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Draw noise; in half of the studies one value of one token stands out. Returns its position, or -1."""
    values = torch.randn(studies, _TOKENS, _VALUES, generator=generator)
    places = torch.randint(_TOKENS, (studies,), generator=generator)
    ill = torch.arange(studies) % 2 == 0
    values[ill.nonzero()[:, 0], places[ill], 1] += 5.0
    padding = torch.zeros(studies, _TOKENS, dtype=torch.bool)
    return {"values": values, "padding": padding}, places.masked_fill(~ill, -1)


@cache
def planted_encoder() -> tuple[TransformerEncoder, Callable[[Tensor], Tensor], dict[str, Tensor], Tensor]:
    """Train an encoder for some seconds; returns it, its score, 80 new studies and the positions of their tokens."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    trunk = Transformer(width=_WIDTH, depth=2, heads=2)
    encoder = TransformerEncoder(tokenizer=ValueTokenizer(values=_VALUES, width=_WIDTH), trunk=trunk)
    head = nn.Linear(_WIDTH, 1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(_STEPS):
        inputs, places = _draw(64, generator)
        loss = F.binary_cross_entropy_with_logits(head(encoder(inputs).pooled)[:, 0], (places >= 0).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2, "the case is meant to be learned"
    return encoder, lambda pooled: head(pooled)[:, 0], *_draw(80, generator)
