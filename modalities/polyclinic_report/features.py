"""TF-IDF of hashed n-grams of tokens as the fixed features of a report."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.nn import FixedFeatures

_ROWS, _LONGEST = 1 << 15, 2
_MULTIPLIER = 1_000_003
_FEWEST_REPORTS = 2


class NgramFeatures(FixedFeatures):
    """TF-IDF of tokens and pairs of tokens, with logarithmic counts and unit length (Salton and Buckley 1988).

    N-grams are hashed to a fixed number of features, so that no vocabulary of them is stored (Weinberger et al. 2009,
    without signs). Those of a single training report count as absent.
    """

    is_sparse = True
    idf: Float[Tensor, " F"]

    def __init__(self) -> None:
        super().__init__()
        self.outputs = _ROWS
        self.register_buffer("idf", torch.ones(_ROWS))

    @torch.no_grad()
    def fit(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Learn the inverse document frequencies."""
        reports, found = 0, torch.zeros(_ROWS, dtype=torch.float64)
        for inputs in batches:
            reports += len(inputs["tokens"])
            found += (self._counts(inputs) > 0).sum(dim=0)
        idf = torch.log((1 + reports) / (1 + found)) + 1
        self.idf.copy_(torch.where(found < min(_FEWEST_REPORTS, reports), 0.0, idf))

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of ``inputs["tokens"]`` [B, T] outside ``inputs["padding"]`` [B, T]."""
        counts = self._counts(inputs).to(self.idf.dtype)
        weighted = torch.where(counts > 0, 1 + counts.clamp_min(1).log(), 0.0) * self.idf
        return torch.nn.functional.normalize(weighted, dim=1)

    def _counts(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        tokens, padding = inputs["tokens"], inputs["padding"]
        counts = torch.zeros(len(tokens), _ROWS, device=tokens.device)
        hashed, present = torch.zeros_like(tokens), ~padding
        for length in range(min(_LONGEST, tokens.shape[1])):
            # The hash of an n-gram extends that of its first n - 1 tokens.
            following, known = tokens[:, length:], present[:, length:]
            width = following.shape[1]
            hashed = (hashed[:, :width] * _MULTIPLIER + following + length + 1) % (2**31 - 1)
            counts.scatter_add_(1, hashed % _ROWS, known.to(counts.dtype))
        return counts
