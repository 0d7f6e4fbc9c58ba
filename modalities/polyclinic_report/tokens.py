"""Subword tokens of a report, and their reconstruction in masked pretraining."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import Reconstruction, Tokenizer, Tokens, sine_positions

_MASK_RATIO = 0.15
HIDDEN = -1
"""Token number of hidden tokens in a report that is drawn."""


class WordReconstruction(Reconstruction):
    """Predict the tokens of hidden words; all tokens of a word are hidden together.

    As in any modality, the encoder does not see hidden tokens, whereas BERT sees a mask token.

    Args:
        width: width W of the decoder.
        vocabulary_size: rows P of the table.
        max_tokens: longest report in tokens.
    """

    positions: Float[Tensor, "1 M W"]

    def __init__(self, *, width: int, vocabulary_size: int, max_tokens: int) -> None:
        super().__init__()
        self.ratio = _MASK_RATIO
        self._max_tokens = max_tokens
        self.head = nn.Linear(width, vocabulary_size)
        self.register_buffer("positions", sine_positions(max_tokens, width)[None], persistent=False)

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Return one unit per word; markers and padding (-1) are never hidden."""
        return inputs["word"]

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return the positions in the text."""
        return self.positions[:, : inputs["tokens"].shape[1]]

    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """Return logits over the vocabulary."""
        logits: Tensor = self.head(decoded)
        return logits

    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """Return the hidden tokens as one-hot vectors."""
        return F.one_hot(inputs["tokens"][hidden], self.head.out_features).to(self.head.weight.dtype)

    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Return the cross-entropy in nats."""
        return F.cross_entropy(predicted, targets, reduction="none")

    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """Return the log frequency of each token in the vocabulary, with add-one smoothing."""
        occurrences = total.sum(dim=0, keepdim=True) + 1
        return torch.log(occurrences / occurrences.sum()).expand_as(total)

    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Replace hidden tokens by ``HIDDEN``."""
        return {**inputs, "tokens": inputs["tokens"].masked_fill(hidden, HIDDEN)}

    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Replace each hidden token by its most probable one, independently of the others."""
        return {**inputs, "tokens": inputs["tokens"].masked_scatter(hidden, predicted.argmax(dim=1))}

    def blank(self, count: int) -> dict[str, Tensor]:
        """Return texts of half the maximal length."""
        places = torch.arange(self._max_tokens // 2, device=self.positions.device).expand(count, -1)
        return {
            "tokens": torch.zeros_like(places),
            "word": places,
            "padding": torch.zeros_like(places, dtype=torch.bool),
        }


class SubwordTokenizer(Tokenizer):
    """Embedding table with fixed positions (Vaswani et al. 2017).

    Args:
        vocabulary_size: rows of the table.
        max_tokens: longest report T in tokens.
        width: token width D.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, vocabulary_size: int, max_tokens: int, width: int) -> None:
        super().__init__()
        self._max_tokens = max_tokens
        self.embed = nn.Embedding(vocabulary_size, width)
        self.register_buffer("positions", sine_positions(max_tokens, width)[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``inputs["tokens"]`` [B, T]; ``inputs["padding"]`` [B, T] marks padding."""
        tokens = inputs["tokens"]
        return Tokens(self.embed(tokens), self.positions[:, : tokens.shape[1]], inputs["padding"])

    def reconstruction(self, width: int) -> WordReconstruction:
        """Build the reconstruction for masked pretraining with a decoder of the given width."""
        return WordReconstruction(width=width, vocabulary_size=self.embed.num_embeddings, max_tokens=self._max_tokens)
