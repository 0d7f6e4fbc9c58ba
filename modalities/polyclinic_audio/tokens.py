"""Stretches of a spectrogram as tokens (Gong et al. 2021, with patches as high as the spectrogram)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, sine_positions
from polyclinic_audio.patches import MelReconstruction, after_the_end


class TimePatchTokenizer(Tokenizer):
    """Linear embedding of ``patch`` successive frames over all mel bands, with fixed positions.

    Args:
        frames: frames M of a spectrogram; a last patch that is not full is completed with zeros.
        mels: bands F of a spectrogram.
        patch: frames of a token.
        width: token width D.
        normalised_targets: whether masked pretraining predicts patches without their mean and deviation.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, frames: int, mels: int, patch: int, width: int, normalised_targets: bool = True) -> None:
        super().__init__()
        self.patch, self._frames, self._mels, self._normalised = patch, frames, mels, normalised_targets
        self.embed = nn.Linear(patch * mels, width)
        self.register_buffer("positions", sine_positions(-(-frames // patch), width)[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``inputs["mel"]`` of shape [B, M, F]; patches that start after ``inputs["frames"]`` are padding."""
        mel = inputs["mel"]
        mel = F.pad(mel, (0, 0, 0, -mel.shape[1] % self.patch))
        values = self.embed(mel.unflatten(1, (-1, self.patch)).flatten(2))
        padding = after_the_end(inputs["frames"], count=values.shape[1], patch=self.patch)
        return Tokens(values, self.positions, padding)

    def reconstruction(self, width: int) -> MelReconstruction:
        """Build what masked pretraining needs, for a decoder of a width."""
        return MelReconstruction(
            width=width, frames=self._frames, mels=self._mels, patch=self.patch, normalised=self._normalised
        )
