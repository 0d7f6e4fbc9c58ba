"""Time patches as tokens, of all leads together or of each by itself (Dosovitskiy et al. 2021, in one dimension)."""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, sine_positions, stem_strides
from polyclinic_ecg.patches import LEAD_SPREAD, Masking, SignalReconstruction, unrecorded
from polyclinic_ecg.recording import LEADS
from polyclinic_ecg.rooted import SPREAD, rooted

Stem: TypeAlias = Literal["linear", "lead", "conv"]
_GROUPS = 4
_KERNEL = 7


class PatchTokenizer(Tokenizer):
    """One token per stretch of time, of all leads and their masks or of one lead, with fixed positions in time.

    Args:
        length: samples per study.
        patch: samples per token; divides ``length``.
        width: token width D, a multiple of 16 for the convolutional stem.
        stem: ``linear`` embeds each patch of all leads by itself; ``lead`` each patch of each lead, twelve times as
            many tokens, so that leads can be hidden; ``conv`` uses strided convolutions (Xiao et al. 2021, in one
            dimension), learns faster from few records, and lets neighbouring patches overlap, so that none can be
            masked.
        masking: what masked pretraining hides together, see ``SignalReconstruction``.
        normalised_targets: whether masked pretraining predicts patches without their mean and deviation.

    Raises:
        ValueError: the stem is unknown, or ``patch`` has a prime factor above 7, which a stride would skip over.
    """

    positions: Float[Tensor, "1 S D"]

    def __init__(
        self,
        *,
        length: int,
        patch: int,
        width: int,
        stem: Stem = "linear",
        masking: Masking = "random",
        normalised_targets: bool = False,
    ) -> None:
        super().__init__()
        if stem not in ("linear", "lead", "conv"):
            raise ValueError(f"got stem {stem!r}, expected 'linear', 'lead' or 'conv'; set `stem`")
        self.patch, self._length, self._stem = patch, length, stem
        self._masking, self._normalised = masking, normalised_targets
        by_lead = stem == "lead"
        # The convolutions normalise what they see; a linear map would leave the signal drowned by the positions.
        self._spread = 1.0 if stem == "conv" else SPREAD
        channels = 2 if by_lead else 2 * len(LEADS)
        self.embed = _conv_stem(channels, patch, width) if stem == "conv" else nn.Conv1d(channels, width, patch, patch)
        self.leads = nn.Parameter(torch.randn(len(LEADS), 1, width) * LEAD_SPREAD) if by_lead else None
        stretches = length // patch
        positions = sine_positions(stretches, width, **({} if stem == "conv" else {"slowest": stretches}))
        self.register_buffer("positions", positions[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``signal`` [B, 12, L] in millivolts with ``sample_mask`` [B, 12, L], True where recorded."""
        mask = inputs["sample_mask"]
        channels = torch.stack([rooted(inputs["signal"]) / self._spread, mask.to(inputs["signal"].dtype)], dim=1)
        padding = unrecorded(mask, patch=self.patch, by_lead=self.leads is not None)
        if self.leads is None:
            return Tokens(self.embed(channels.flatten(1, 2)).transpose(1, 2), self.positions, padding)
        embedded = self.embed(channels.transpose(1, 2).flatten(0, 1)).transpose(1, 2)
        values = embedded.unflatten(0, (len(mask), len(LEADS))).flatten(1, 2)
        return Tokens(values, (self.positions + self.leads).flatten(0, 1)[None], padding)

    def reconstruction(self, width: int) -> SignalReconstruction:
        """Build what masked pretraining needs, for a decoder of a width.

        Raises:
            ValueError: patches overlap, or leads are to be hidden that share their tokens.
        """
        if self._stem == "conv":
            raise ValueError("got stem 'conv', whose patches show each other; set `stem: linear` or `stem: lead`")
        return SignalReconstruction(
            width=width,
            length=self._length,
            patch=self.patch,
            by_lead=self.leads is not None,
            masking=self._masking,
            normalised=self._normalised,
        )


def _conv_stem(channels: int, patch: int, width: int) -> nn.Sequential:
    """Strided convolutions whose strides multiply to ``patch``, doubling channels up to ``width``.

    GroupNorm in place of the paper's BatchNorm: a study's tokens do not depend on the batch around it.
    """
    layers: list[nn.Module] = []
    strides = stem_strides(patch, (2, 3, 5, 7))
    for stage, stride in enumerate(strides):
        wider = max(width >> (len(strides) - 1 - stage), 4 * _GROUPS)
        convolution = nn.Conv1d(channels, wider, _KERNEL, stride, _KERNEL // 2, bias=False)
        layers += [convolution, nn.GroupNorm(_GROUPS, wider), nn.GELU()]
        channels = wider
    return nn.Sequential(*layers, nn.Conv1d(channels, width, 1))
