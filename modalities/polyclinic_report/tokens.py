"""Embedded subwords of a report as tokens."""

from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, sine_positions
from polyclinic_report.words import WordReconstruction


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
