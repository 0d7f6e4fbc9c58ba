"""Stretches of a spectrogram as tokens (Gong et al. 2021, with patches as high as the spectrogram)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, sine_positions


class TimePatchTokenizer(Tokenizer):
    """Linear embedding of ``patch`` successive frames over all mel bands, with fixed positions.

    Args:
        frames: frames M of a spectrogram; a last patch that is not full is completed with zeros.
        mels: bands F of a spectrogram.
        patch: frames of a token.
        width: token width D.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, frames: int, mels: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(patch * mels, width)
        self.register_buffer("positions", sine_positions(-(-frames // patch), width)[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``inputs["mel"]`` of shape [B, M, F]; patches that start after ``inputs["frames"]`` are padding."""
        mel = inputs["mel"]
        mel = F.pad(mel, (0, 0, 0, -mel.shape[1] % self.patch))
        values = self.embed(mel.unflatten(1, (-1, self.patch)).flatten(2))
        starts = torch.arange(values.shape[1], device=mel.device) * self.patch
        return Tokens(values, self.positions, starts[None] >= inputs["frames"][:, None])
