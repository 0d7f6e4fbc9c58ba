"""What stretches of a spectrogram hide from a masked autoencoder (compare Huang et al. 2022, "Audio-MAE")."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyclinic.nn import PatchReconstruction, sine_positions

_RATIO = 0.75


def after_the_end(frames: Int[Tensor, " B"], *, count: int, patch: int) -> Bool[Tensor, "B T"]:
    """Which of ``count`` tokens start after the last frame of a recording."""
    return torch.arange(count, device=frames.device)[None] * patch >= frames[:, None]


class MelReconstruction(PatchReconstruction):
    """Successive frames over all mel bands, with fixed positions.

    Args:
        width: of the decoder, W.
        frames: frames M of a spectrogram.
        mels: bands F of a spectrogram.
        patch: frames of a token.
        normalised: remove each patch's mean and deviation from its target.
    """

    positions: Float[Tensor, "1 T W"]

    def __init__(self, *, width: int, frames: int, mels: int, patch: int, normalised: bool) -> None:
        super().__init__(width=width, values=patch * mels, ratio=_RATIO, normalised=normalised)
        self._frames, self._mels, self._patch = frames, mels, patch
        count = -(-frames // patch)
        self.register_buffer("positions", sine_positions(count, width, slowest=count)[None], persistent=False)

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Every stretch by itself; those after the end of the recording hide nothing."""
        count = self.positions.shape[1]
        absent = after_the_end(inputs["frames"], count=count, patch=self._patch)
        return torch.arange(count, device=absent.device).expand_as(absent).masked_fill(absent, -1)

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Positions in time."""
        return self.positions

    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Frame by frame; NaN after the end of the recording."""
        beyond = after_the_end(inputs["frames"], count=self._frames, patch=1)
        mel = inputs["mel"].masked_fill(beyond[:, :, None], torch.nan)
        mel = F.pad(mel, (0, 0, 0, -self._frames % self._patch), value=torch.nan)
        return mel.unflatten(1, (-1, self._patch)).flatten(2)

    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put the frames back together; 0 after the end of the recording."""
        mel = patches.unflatten(2, (self._patch, self._mels)).flatten(1, 2)[:, : self._frames]
        beyond = after_the_end(inputs["frames"], count=self._frames, patch=1)
        return {**inputs, "mel": mel.masked_fill(beyond[:, :, None], 0.0)}

    def silent(self, count: int) -> dict[str, Tensor]:
        """A spectrogram of zeros, as long as it can be."""
        mel = self.positions.new_zeros(count, self._frames, self._mels)
        return {"mel": mel, "frames": torch.full((count,), self._frames, device=mel.device)}
