"""What every encoder returns, and the transformer encoder that all modalities share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.masked.reconstruction import Reconstruction
from polyclinic.nn.pooling import MeanPooling, StatisticsPooling
from polyclinic.nn.transformer import Transformer, Visible


class WeightAccount(NamedTuple):
    """Every name of either side, once.

    Attributes:
        source: name of the file or folder, without its path.
        loaded: of both sides, taken over.
        new: of this model only, left as it was initialised.
        dropped: of the source only, not used.
    """

    source: str
    loaded: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


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
    """Maps one modality's collated inputs to ``Encoded``.

    Attributes:
        width: of tokens and pooled vectors, D.
        account: of the weights that it was built from; None where it starts at random.
    """

    width: int
    account: WeightAccount | None = None

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode a batch of ``B`` studies that all have this modality."""

    @classmethod
    def portable(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments that build the same architecture where the files that ``settings`` name are not.

        Weights travel by themselves. What is returned is plain JSON.
        """
        return dict(settings)


class MaskableEncoder(Encoder):
    """An encoder that can leave tokens out, so that masked pretraining computes visible ones only.

    Attributes:
        readout: prefix of the names of the weights that make one vector of the tokens.
    """

    readout: str

    @abstractmethod
    def tokenize(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed a batch of ``B`` studies, each token by itself: none tells anything of another."""

    @abstractmethod
    def encode(self, tokens: Tokens, hidden: Bool[Tensor, "B T"]) -> Visible:
        """Encode the tokens that are neither padding nor hidden; what is hidden influences nothing."""

    @abstractmethod
    def reconstruction(self, width: int) -> Reconstruction:
        """Build this modality's part of a decoder of a width.

        Raises:
            ValueError: tokens of this encoder tell of each other, or say nothing of what they hide.
        """

    @abstractmethod
    def drop_readout(self) -> None:
        """Remove the readout, which masked pretraining would leave untrained."""


class Tokenizer(nn.Module, ABC):
    """Maps one modality's collated inputs to ``Tokens`` of a given width."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed a batch of ``B`` studies, without mixing tokens."""

    def reconstruction(self, width: int) -> Reconstruction:
        """Build what masked pretraining needs of this modality, for a decoder of a width; see ``Reconstruction``.

        Raises:
            ValueError: this tokenizer has no such thing.
        """
        raise ValueError(f"{type(self).__name__} does not say what its tokens hide; write its `reconstruction`")


class TransformerEncoder(MaskableEncoder):
    """A plugin's tokenizer followed by the shared transformer trunk and the statistics of real tokens.

    Args:
        tokenizer: turns the modality's inputs into ``Tokens`` of width ``trunk.width``.
        trunk: mixes the tokens.
    """

    readout = "pool."

    def __init__(self, *, tokenizer: Tokenizer, trunk: Transformer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.trunk = trunk
        self.pool: nn.Module = StatisticsPooling(trunk.width)
        self.width = trunk.width

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode a batch of ``B`` studies that all have this modality."""
        tokens = self.tokenizer(inputs)
        mixed = self.trunk(tokens.values + tokens.positions, tokens.padding)
        return Encoded(mixed, self.pool(mixed, tokens.padding), tokens.padding)

    def tokenize(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed a batch of ``B`` studies."""
        tokens: Tokens = self.tokenizer(inputs)
        return tokens

    def encode(self, tokens: Tokens, hidden: Bool[Tensor, "B T"]) -> Visible:
        """Mix the tokens that are neither padding nor hidden."""
        return self.trunk.visible(tokens.values + tokens.positions, tokens.padding | hidden)

    def reconstruction(self, width: int) -> Reconstruction:
        """Ask the tokenizer."""
        return self.tokenizer.reconstruction(width)

    def drop_readout(self) -> None:
        """Pool by a mean, which has no weights."""
        self.pool = MeanPooling()
