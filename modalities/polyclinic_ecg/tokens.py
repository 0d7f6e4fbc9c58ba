"""Time patches of all leads as tokens (Dosovitskiy et al. 2021, in one dimension)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, sine_positions
from polyclinic_ecg.recording import LEADS

# The P wave is ten times smaller than the QRS complex. A signed root, linear below about this many millivolts, lets
# neither drown the other; the inverse hyperbolic sine does as well and takes ten times as long.
_SMALL_WAVE = 0.1


class PatchTokenizer(Tokenizer):
    """Linear embedding of non-overlapping patches of all leads and their masks, with fixed positions in time.

    Args:
        length: samples per study.
        patch: samples per token; divides ``length``.
        width: token width D.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, length: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Conv1d(2 * len(LEADS), width, kernel_size=patch, stride=patch)
        self.register_buffer("positions", sine_positions(length // patch, width)[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``signal`` [B, 12, L] in millivolts with ``sample_mask`` [B, 12, L], True where recorded."""
        mask = inputs["sample_mask"]
        signal = inputs["signal"]
        rooted = signal * torch.rsqrt(signal.abs() + _SMALL_WAVE)
        values = self.embed(torch.cat([rooted, mask.to(signal.dtype)], dim=1)).transpose(1, 2)
        padding = ~mask.any(dim=1).unflatten(1, (-1, self.patch)).any(dim=2)
        return Tokens(values, self.positions, padding)
