"""The pre-norm transformer trunk of all modalities (Xiong et al. 2020; Dosovitskiy et al. 2021)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn.masked.masking import gather_tokens, places_of


class Visible(NamedTuple):
    """The encoded visible tokens of a modality, and their places among its T tokens.

    Attributes:
        tokens: encoded tokens of width D.
        places: places from 0 to T-1; -1 for padding.
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
"""``tiny``, ``small`` and ``base`` are the sizes of vision transformers; smaller ones train on a laptop."""


class Attention(nn.Module):
    """Multi-head self-attention over the tokens that are not padding."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"got width {width} with {heads} heads; width must be a multiple of heads")
        self.heads = heads
        self.recorded: list[Tensor] | None = None
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def start_alike(self) -> None:
        """Initialise keys with the weights of queries, so that similar tokens and positions attend to each other.

        After Trockman and Kolter (2023), "Mimetic initialization of self-attention layers": from little data, training
        finds this structure late.
        """
        query, key, _ = self.qkv.weight.data.chunk(3)
        nn.init.normal_(query, std=query.shape[1] ** -0.5)
        key.copy_(query)

    def forward(self, x: Float[Tensor, "B T D"], visible: Bool[Tensor, "B 1 1 T"] | None) -> Float[Tensor, "B T D"]:
        """Attend from every token to every visible one."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if self.recorded is None:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        else:
            weights = _attention_weights(q, k, visible)
            self.recorded.append(weights)
            mixed = weights @ v
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


@contextmanager
def keep_attention(module: nn.Module) -> Iterator[list[Float[Tensor, "B H T T"]]]:
    """Record the weights of every ``Attention`` inside a module in a list, in the order of computation.

    Row i contains the weights with which token i attends to each token, and sums to one. The weights are T x T numbers
    in memory, and are part of the autograd graph. Outputs differ from those without recording only by rounding.

    Args:
        module: encoder or trunk.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, Attention)]
    before = [layer.recorded for layer in layers]
    recorded: list[Tensor] = []
    for layer in layers:
        layer.recorded = recorded
    try:
        yield recorded
    finally:
        for layer, earlier in zip(layers, before, strict=True):
            layer.recorded = earlier


def _attention_weights(
    q: Float[Tensor, "B H T K"], k: Float[Tensor, "B H T K"], visible: Bool[Tensor, "B 1 1 T"] | None
) -> Float[Tensor, "B H T T"]:
    logits = q @ k.transpose(2, 3) * k.shape[3] ** -0.5
    return torch.softmax(logits if visible is None else logits.masked_fill(~visible, -torch.inf), dim=3)


def zero_initialise(*last: nn.Module) -> None:
    """Zero the last layers of residual branches, so that they start as identity (Zhang et al. 2019, "Fixup")."""
    for layer in last:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


class Block(nn.Module):
    """A residual block: attention, then a two-layer perceptron, each after a LayerNorm."""

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
    """A residual convolution over neighbouring tokens, after a LayerNorm.

    It gives a shallow trunk what attention with absolute positions learns late: adjacency of tokens, as of "no" and
    "effusion" (compare the conditional positions of Chu et al. 2021).
    """

    def __init__(self, *, width: int, reach: int) -> None:
        super().__init__()
        if reach % 2 == 0:
            raise ValueError(f"got neighbours {reach}, expected an odd number of tokens; set `neighbours`")
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, reach, padding=reach // 2)

    def forward(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Mix each token with its neighbours; padding counts as zero, as beyond the ends."""
        clean = self.norm(x).masked_fill(padding[:, :, None], 0.0)
        return x + F.gelu(self.convolution(clean.transpose(1, 2)).transpose(1, 2))


class Transformer(nn.Module):
    """A stack of blocks with a final LayerNorm.

    Args:
        width: token width D.
        depth: number of blocks.
        heads: attention heads; divides ``width``.
        dropout: dropout probability of the residual branches.
        neighbours: odd kernel size of a convolution ahead of the blocks, for tokens in a sequence; 0 for none.
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
            ValueError: the name is unknown.
        """
        if size not in SIZES:
            raise ValueError(f"got encoder size {size!r}, expected one of {sorted(SIZES)}; set `size`")
        return cls(**SIZES[size]._asdict(), dropout=dropout, neighbours=neighbours)

    def forward(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Encode tokens; padding has no influence on other tokens."""
        return self._attend(self._mix_neighbours(x, padding), padding)

    def visible(self, x: Float[Tensor, "B T D"], absent: Bool[Tensor, "B T"]) -> Visible:
        """Encode the tokens that are not absent; attention and perceptrons compute no others."""
        places, padding = places_of(~absent)
        visible = gather_tokens(self._mix_neighbours(x, absent), places)
        return Visible(self._attend(visible, padding), places.masked_fill(padding, -1), padding)

    def _mix_neighbours(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return x if self.neighbours is None else torch.as_tensor(self.neighbours(x, padding))

    def _attend(self, x: Float[Tensor, "B T D"], padding: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        visible = attendable(padding)
        for block in self.blocks:
            x = block(x, visible)
        return torch.as_tensor(self.norm(x))


def attendable(padding: Bool[Tensor, "B T"]) -> Bool[Tensor, "B 1 1 T"] | None:
    """Return the attention mask of a batch; None without padding, which has faster attention kernels."""
    if not bool(padding.any()):
        return None
    # A softmax over a row of padding is NaN; such a row attends to its padding instead.
    return (~padding | padding.all(dim=1, keepdim=True))[:, None, None, :]
