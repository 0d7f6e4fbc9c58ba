"""What every encoder returns, and the transformer encoder that all modalities share."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.pooling import StatisticsPooling
from polyclinic.nn.transformer import Transformer


class Tokens(NamedTuple):
    """Embedded tokens, before any mixing between them.

    Attributes:
        values: token embeddings, positions not yet added.
        positions: position embeddings, added by the encoder; ``T`` tokens of width ``D``.
        padding: True where a token is absent (padding, a missing lead) and must not be attended to.
    """

    values: Float[Tensor, "B T D"]
    positions: Float[Tensor, "#B T D"]
    padding: Bool[Tensor, "B T"]


class Encoded(NamedTuple):
    """An encoder's output: contextual tokens, one vector per study, and which tokens are padding."""

    tokens: Float[Tensor, "B T D"]
    pooled: Float[Tensor, "B D"]
    padding: Bool[Tensor, "B T"]


class Encoder(nn.Module, ABC):
    """Maps one modality's collated inputs to ``Encoded``; ``width`` is its D."""

    width: int

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode a batch of ``B`` studies that all have this modality."""


class Tokenizer(nn.Module, ABC):
    """Maps one modality's collated inputs to ``Tokens`` of a given width."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed a batch of ``B`` studies, without mixing tokens."""


class TransformerEncoder(Encoder):
    """A plugin's tokenizer followed by the shared transformer trunk and the statistics of real tokens.

    Args:
        tokenizer: turns the modality's inputs into ``Tokens`` of width ``trunk.width``.
        trunk: mixes the tokens.
    """

    def __init__(self, *, tokenizer: Tokenizer, trunk: Transformer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.trunk = trunk
        self.pool = StatisticsPooling(trunk.width)
        self.width = trunk.width

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode a batch of ``B`` studies that all have this modality."""
        return self.encode(self.tokenizer(inputs))

    def encode(self, tokens: Tokens) -> Encoded:
        """Mix and pool any subset of the tokenizer's tokens."""
        mixed = self.trunk(tokens.values + tokens.positions, tokens.padding)
        return Encoded(mixed, self.pool(mixed, tokens.padding), tokens.padding)
