"""Embedded subwords of a report as tokens, and their reconstruction in masked pretraining."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import Reconstruction, Tokenizer, Tokens, sine_positions

_RATIO = 0.15
HIDDEN = -1
"""Stands for a token that is hidden, where a report is shown."""


class WordReconstruction(Reconstruction):
    """Probabilities over the vocabulary for each token of a hidden word; all tokens of a word are hidden together.

    Hidden tokens are left out of the encoder, as those of any modality, where BERT puts a mask token in their place.

    Args:
        width: of the decoder, W.
        vocabulary_size: rows of the table, P.
        max_tokens: longest report in tokens.
    """

    positions: Float[Tensor, "1 M W"]

    def __init__(self, *, width: int, vocabulary_size: int, max_tokens: int) -> None:
        super().__init__()
        self.ratio = _RATIO
        self._longest = max_tokens
        self.head = nn.Linear(width, vocabulary_size)
        self.register_buffer("positions", sine_positions(max_tokens, width)[None], persistent=False)

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Whole words; markers and padding are never hidden."""
        return inputs["word"]

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Positions in the text."""
        return self.positions[:, : inputs["tokens"].shape[1]]

    def predict(self, decoded: Float[Tensor, "n W"], places: Int[Tensor, " n"]) -> Float[Tensor, "n P"]:
        """Logits over the vocabulary."""
        logits: Tensor = self.head(decoded)
        return logits

    def targets(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> Float[Tensor, "n P"]:
        """1 for the token that is there."""
        return F.one_hot(inputs["tokens"][hidden], self.head.out_features).to(self.head.weight.dtype)

    def loss(self, predicted: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
        """Cross-entropy in nats."""
        return F.cross_entropy(predicted, targets, reduction="none")

    def constant(self, total: Float[Tensor, "T P"], count: Float[Tensor, "T P"]) -> Float[Tensor, "T P"]:
        """How often each token occurs anywhere, with one more occurrence of each."""
        occurrences = total.sum(dim=0, keepdim=True) + 1
        return torch.log(occurrences / occurrences.sum()).expand_as(total)

    def hide(self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"]) -> dict[str, Tensor]:
        """Hidden tokens get the number of none."""
        return {**inputs, "tokens": inputs["tokens"].masked_fill(hidden, HIDDEN)}

    def fill(
        self, inputs: dict[str, Tensor], hidden: Bool[Tensor, "B T"], predicted: Float[Tensor, "n P"]
    ) -> dict[str, Tensor]:
        """Hidden tokens become the likeliest ones, each by itself."""
        return {**inputs, "tokens": inputs["tokens"].masked_scatter(hidden, predicted.argmax(dim=1))}

    def blank(self, count: int) -> dict[str, Tensor]:
        """A text of half the longest length."""
        places = torch.arange(self._longest // 2, device=self.positions.device).expand(count, -1)
        return {
            "tokens": torch.zeros_like(places),
            "word": places,
            "padding": torch.zeros_like(places, dtype=torch.bool),
        }


class SubwordTokenizer(Tokenizer):
    """An embedding table with fixed positions (Vaswani et al. 2017).

    Args:
        vocabulary_size: rows of the table.
        max_tokens: longest report T in tokens.
        width: token width D.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, vocabulary_size: int, max_tokens: int, width: int) -> None:
        super().__init__()
        self._longest = max_tokens
        self.embed = nn.Embedding(vocabulary_size, width)
        self.register_buffer("positions", sine_positions(max_tokens, width)[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``inputs["tokens"]`` [B, T]; ``inputs["padding"]`` [B, T] says which are absent."""
        tokens = inputs["tokens"]
        return Tokens(self.embed(tokens), self.positions[:, : tokens.shape[1]], inputs["padding"])

    def reconstruction(self, width: int) -> WordReconstruction:
        """Build what masked pretraining needs, for a decoder of a width."""
        return WordReconstruction(width=width, vocabulary_size=self.embed.num_embeddings, max_tokens=self._longest)
