"""Time patches of all leads as tokens, embedded by a small convolutional stem (Xiao et al. 2021)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, sine_positions
from polyclinic_ecg.recording import LEADS

# The P wave is ten times smaller than the QRS complex; the inverse hyperbolic sine is linear up to about this
# many millivolts and logarithmic above, so that neither drowns the other.
_SMALL_WAVE = 0.1


class ConvTokenizer(Tokenizer):
    """Three convolutions within each patch of all leads and their masks, with fixed positions in time.

    No convolution crosses the edge of a patch, so that a masked token cannot be read off its neighbours.

    Args:
        length: samples per study.
        patch: samples per token, a multiple of four that divides ``length``.
        width: token width D.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, length: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.stem = nn.Sequential(
            nn.Conv1d(2 * len(LEADS), width, kernel_size=5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(width, width, kernel_size=patch // 4),
        )
        self.register_buffer("positions", sine_positions(length // patch, width)[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``signal`` [B, 12, L] in millivolts with ``sample_mask`` [B, 12, L], True where recorded."""
        mask = inputs["sample_mask"]
        batch, _, length = mask.shape
        signal = torch.asinh(inputs["signal"] / _SMALL_WAVE)
        both = torch.cat([signal, mask.to(signal.dtype)], dim=1)
        patches = both.unflatten(2, (-1, self.patch)).transpose(1, 2).flatten(0, 1)
        values = self.stem(patches).view(batch, length // self.patch, -1)
        padding = ~mask.any(dim=1).unflatten(1, (-1, self.patch)).any(dim=2)
        return Tokens(values, self.positions, padding)
