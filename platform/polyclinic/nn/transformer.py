"""The pre-norm transformer trunk that serves every modality (Xiong et al. 2020; Dosovitskiy et al. 2021)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn.masked.masking import gather_tokens, places_of


class Visible(NamedTuple):
    """Encoded tokens of a subset, and where they stand among the T tokens of their modality.

    Attributes:
        tokens: of width D.
        places: from 0 to T-1; -1 where a token is padding.
        padding: True where a token is absent.
    """

    tokens: Float[Tensor, "B V D"]
    places: Int[Tensor, "B V"]
    padding: Bool[Tensor, "B V"]


class Size(NamedTuple):
    """Width D, number of blocks and attention heads of a trunk."""

    width: int
    depth: int
    heads: int


SIZES = {
    "pico": Size(64, 1, 4),
    "nano": Size(64, 2, 4),
    "micro": Size(128, 4, 4),
    "tiny": Size(192, 12, 3),
    "small": Size(384, 12, 6),
    "base": Size(768, 12, 12),
}
"""``tiny``, ``small`` and ``base`` are the sizes of vision transformers; the other ones train on a laptop."""


class Attention(nn.Module):
    """Multi-head self-attention over the tokens that are not padding."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"got width {width} with {heads} heads; width must be a multiple of heads")
        self.heads = heads
        self.kept: list[Tensor] | None = None
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def start_alike(self) -> None:
        """Give keys the weights of queries, so that attention starts among tokens that look and stand alike.

        After Trockman and Kolter (2023), "Mimetic initialization of self-attention layers": little data finds this
        structure late by itself.
        """
        query, key, _ = self.qkv.weight.data.chunk(3)
        nn.init.normal_(query, std=query.shape[1] ** -0.5)
        key.copy_(query)

    def forward(self, x: Float[Tensor, "B T D"], visible: Bool[Tensor, "B 1 1 T"] | None) -> Float[Tensor, "B T D"]:
        """Attend from every token to every visible one."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if self.kept is None:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        else:
            weights = _attention_weights(q, k, visible)
            self.kept.append(weights)
            mixed = weights @ v
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


@contextmanager
def keep_attention(module: nn.Module) -> Iterator[list[Float[Tensor, "B H T T"]]]:
    """Let every ``Attention`` inside a module add its weights to a list, in the order of computation.

    Row i holds how much token i takes from each token, and sums to one. Weights are written out, which takes memory
    for T x T numbers, and are part of the graph: gradients reach them. Values differ from the ordinary ones, which
    are back after the block, by rounding alone.

    Args:
        module: an encoder, a trunk.
    """
    layers = [one for one in module.modules() if isinstance(one, Attention)]
    before = [layer.kept for layer in layers]
    kept: list[Tensor] = []
    for layer in layers:
        layer.kept = kept
    try:
        yield kept
    finally:
        for layer, earlier in zip(layers, before, strict=True):
            layer.kept = earlier


def _attention_weights(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B H T K"], visible: Bool[Tensor, "B 1 1 T"] | None
) -> Float[Tensor, "B H T T"]:
    logits = q @ k.transpose(2, 3) * k.shape[3] ** -0.5
    return torch.softmax(logits if visible is None else logits.masked_fill(~visible, -torch.inf), dim=3)


def start_silent(*last: nn.Module) -> None:
    """Let residual branches add nothing at first, by zeros in their last layers (Zhang et al. 2019, "Fixup")."""
    for layer in last:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each behind a LayerNorm and beside a residual."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T D"], visible: Bool[Tensor, "B 1 1 T"] | None) -> Float[Tensor, "B T D"]:
        """Apply both residual branches."""
        x = x + self.dropout(self.attention(self.attention_norm(x), visible))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Neighbours(nn.Module):
    """A convolution over neighbouring tokens behind a LayerNorm and beside a residual.

    It gives a shallow trunk what attention with absolute positions learns late: which tokens stand side by side, as
    "no" and "effusion" do (compare the conditional positions of Chu et al. 2021).
    """

    def __init__(self, *, width: int, reach: int) -> None:
        super().__init__()
        if reach % 2 == 0:
            raise ValueError(f"got neighbours {reach}, expected an odd number of tokens; set `neighbours`")
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, reach, padding=reach // 2)

    def forward(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Mix each token with those around it; padding counts as zero, as beyond the ends."""
        clean = self.norm(x).masked_fill(padding[:, :, None], 0.0)
        return x + F.gelu(self.convolution(clean.transpose(1, 2)).transpose(1, 2))


class Transformer(nn.Module):
    """A stack of blocks with a final LayerNorm.

    Args:
        width: token width D.
        depth: number of blocks.
        heads: attention heads; divides ``width``.
        dropout: share of each residual branch's outputs set to zero while training.
        neighbours: tokens that a convolution ahead of the blocks spans, an odd number, for tokens in a line; 0 for
            none.
    """

    def __init__(self, *, width: int, depth: int, heads: int, dropout: float = 0.0, neighbours: int = 0) -> None:
        super().__init__()
        self.width = width
        self.neighbours = Neighbours(width=width, reach=neighbours) if neighbours else None
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    @classmethod
    def of_size(cls, size: str, *, dropout: float = 0.0, neighbours: int = 0) -> "Transformer":
        """Build one of the named ``SIZES``.

        Raises:
            ValueError: the name is not known.
        """
        if size not in SIZES:
            raise ValueError(f"got encoder size {size!r}, expected one of {sorted(SIZES)}; set `size`")
        return cls(**SIZES[size]._asdict(), dropout=dropout, neighbours=neighbours)

    def forward(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Mix tokens; what is at padded positions influences no other token."""
        return self._attended(self._joined(x, padding), padding)

    def visible(self, x: Float[Tensor, "B T D"], absent: Bool[Tensor, "B T"]) -> Visible:
        """Mix the tokens that are not absent, and compute attention and perceptrons of no other."""
        places, padding = places_of(~absent)
        chosen = gather_tokens(self._joined(x, absent), places)
        return Visible(self._attended(chosen, padding), places.masked_fill(padding, -1), padding)

    def _joined(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return x if self.neighbours is None else torch.as_tensor(self.neighbours(x, padding))

    def _attended(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        visible = attendable(padding)
        for block in self.blocks:
            x = block(x, visible)
        return torch.as_tensor(self.norm(x))


def attendable(padding: Bool[Tensor, "B T"]) -> Bool[Tensor, "B 1 1 T"] | None:
    """The attention mask of a batch; None where nothing is padded, for which attention has faster ways."""
    if not bool(padding.any()):
        return None
    # A row of nothing but padding would be a softmax over nothing: let it see itself.
    return (~padding | padding.all(dim=1, keepdim=True))[:, None, None, :]
