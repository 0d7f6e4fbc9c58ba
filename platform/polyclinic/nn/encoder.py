"""The interface of encoders, and the transformer encoder that all modalities share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.masked.reconstruction import Reconstruction
from polyclinic.nn.pooling import MeanPooling, StatisticsPooling
from polyclinic.nn.transformer import Transformer, Visible


class WeightAccount(NamedTuple):
    """Names of the weights of a model and of the source they were loaded from, each once.

    Attributes:
        source: name of the file or folder, without its path.
        loaded: weights loaded from the source.
        new: weights of the model only, which remain at their initial values.
        dropped: weights of the source only, which are not used.
    """

    source: str
    loaded: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


class Tokens(NamedTuple):
    """Embedded tokens, before any mixing between them.

    Attributes:
        values: embeddings of ``T`` tokens of width ``D``, without positions.
        positions: position embeddings, which the encoder adds.
        padding: True where a token is absent (padding, a missing lead) and must be masked in attention.
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
        width: width of tokens and pooled vectors, D.
        account: account of the pretrained weights; None for random initial weights.
    """

    width: int
    account: WeightAccount | None = None

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode a batch of ``B`` studies that all have this modality."""

    @classmethod
    def portable(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return constructor arguments for the same architecture that need none of the files in ``settings``.

        The arguments are plain JSON; weights are stored separately.
        """
        return dict(settings)


class MaskableEncoder(Encoder):
    """An encoder that can omit tokens, so that masked pretraining computes visible ones only.

    Attributes:
        readout: prefix of the names of the weights that pool the tokens.
    """

    readout: str

    @abstractmethod
    def tokenize(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed a batch of ``B`` studies, each token independently of the others."""

    @abstractmethod
    def encode(self, tokens: Tokens, hidden: Bool[Tensor, "B T"]) -> Visible:
        """Encode the tokens that are neither padding nor hidden; hidden tokens have no influence."""

    @abstractmethod
    def reconstruction(self, width: int) -> Reconstruction:
        """Build this modality's part of a decoder of the given width.

        Raises:
            ValueError: the tokens depend on each other, or have no reconstruction.
        """

    @abstractmethod
    def drop_readout(self) -> None:
        """Remove the readout, which masked pretraining does not train."""


class Tokenizer(nn.Module, ABC):
    """Maps one modality's collated inputs to ``Tokens`` of a given width."""

    @abstractmethod
    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed a batch of ``B`` studies, without mixing tokens."""

    def reconstruction(self, width: int) -> Reconstruction:
        """Build this modality's part of a decoder of the given width; see ``Reconstruction``.

        Raises:
            ValueError: this tokenizer has no reconstruction.
        """
        raise ValueError(f"{type(self).__name__} does not define what its tokens hide; write its `reconstruction`")


class TransformerEncoder(MaskableEncoder):
    """A plugin's tokenizer, followed by the shared transformer trunk and statistics pooling.

    Args:
        tokenizer: module from the modality's inputs to ``Tokens`` of width ``trunk.width``.
        trunk: transformer over the tokens.
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
        """Encode the tokens that are neither padding nor hidden."""
        return self.trunk.visible(tokens.values + tokens.positions, tokens.padding | hidden)

    def reconstruction(self, width: int) -> Reconstruction:
        """Build the tokenizer's reconstruction."""
        return self.tokenizer.reconstruction(width)

    def drop_readout(self) -> None:
        """Replace the pooling by a mean, which has no weights."""
        self.pool = MeanPooling()
