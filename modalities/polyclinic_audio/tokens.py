"""Tokens of a spectrogram: time patches over all bands (Gong et al. 2021, with full-height patches)."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from polyclinic.nn import PatchReconstruction, Tokenizer, Tokens, sine_positions

_MASK_RATIO = 0.75


def after_the_end(frames: Int[Tensor, " B"], *, count: int, patch: int) -> Bool[Tensor, "B T"]:
    """Return a mask of the ``count`` tokens that start after the last frame of a recording."""
    return torch.arange(count, device=frames.device)[None] * patch >= frames[:, None]


class MelReconstruction(PatchReconstruction):
    """Predict patches of successive frames over all mel bands, with fixed positions.

    Args:
        width: width W of the decoder.
        frames: number of frames M of a spectrogram.
        mels: number of bands F of a spectrogram.
        patch: frames per token.
        normalised: whether targets are standardised per patch.
    """

    positions: Float[Tensor, "1 T W"]

    def __init__(self, *, width: int, frames: int, mels: int, patch: int, normalised: bool) -> None:
        super().__init__(width=width, values=patch * mels, ratio=_MASK_RATIO, normalised=normalised)
        self._frames, self._mels, self._patch = frames, mels, patch
        count = -(-frames // patch)
        self.register_buffer("positions", sine_positions(count, width, slowest=count)[None], persistent=False)

    def units(self, inputs: dict[str, Tensor]) -> Int[Tensor, "#B T"]:
        """Return one unit per patch; patches after the end of the recording (-1) are never hidden."""
        count = self.positions.shape[1]
        absent = after_the_end(inputs["frames"], count=count, patch=self._patch)
        return torch.arange(count, device=absent.device).expand_as(absent).masked_fill(absent, -1)

    def queries(self, inputs: dict[str, Tensor]) -> Float[Tensor, "#B T W"]:
        """Return the positions in time."""
        return self.positions

    def cut(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B T P"]:
        """Cut the spectrogram into patches, with NaN after the end of the recording."""
        beyond = after_the_end(inputs["frames"], count=self._frames, patch=1)
        mel = inputs["mel"].masked_fill(beyond[:, :, None], torch.nan)
        mel = F.pad(mel, (0, 0, 0, -self._frames % self._patch), value=torch.nan)
        return mel.unflatten(1, (-1, self._patch)).flatten(2)

    def join(self, patches: Float[Tensor, "B T P"], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Join patches to a spectrogram, with 0 after the end of the recording."""
        mel = patches.unflatten(2, (self._patch, self._mels)).flatten(1, 2)[:, : self._frames]
        beyond = after_the_end(inputs["frames"], count=self._frames, patch=1)
        return {**inputs, "mel": mel.masked_fill(beyond[:, :, None], 0.0)}

    def zero_inputs(self, count: int) -> dict[str, Tensor]:
        """Return spectrograms of zeros, of full length."""
        mel = self.positions.new_zeros(count, self._frames, self._mels)
        return {"mel": mel, "frames": torch.full((count,), self._frames, device=mel.device)}


class TimePatchTokenizer(Tokenizer):
    """Linear embedding of ``patch`` successive frames over all mel bands, with fixed positions.

    Args:
        frames: number of frames M of a spectrogram; zeros complete the last patch.
        mels: number of bands F of a spectrogram.
        patch: frames per token.
        width: token width D.
        normalised_targets: whether the targets of masked pretraining are standardised per patch.
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
        """Build the reconstruction for masked pretraining with a decoder of the given width."""
        return MelReconstruction(
            width=width, frames=self._frames, mels=self._mels, patch=self.patch, normalised=self._normalised
        )
