"""Time patches of all leads as tokens (Dosovitskiy et al. 2021, in one dimension)."""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Tokenizer, Tokens, sine_positions, stem_strides
from polyclinic_ecg.recording import LEADS

# The P wave is ten times smaller than the QRS complex. A signed root, linear below about this many millivolts, lets
# neither drown the other; the inverse hyperbolic sine does as well and takes ten times as long.
_SMALL_WAVE = 0.1

Stem: TypeAlias = Literal["linear", "conv"]
_GROUPS = 4
_KERNEL = 7


class PatchTokenizer(Tokenizer):
    """One token per stretch of time, of all leads and their masks, with fixed positions in time.

    Args:
        length: samples per study.
        patch: samples per token; divides ``length``.
        width: token width D, a multiple of 16 for the convolutional stem.
        stem: ``linear`` embeds each patch by itself; ``conv`` uses strided convolutions (Xiao et al. 2021, in one
            dimension), learns faster from few records, and lets neighbouring patches overlap.

    Raises:
        ValueError: the stem is unknown, or ``patch`` has a prime factor above 7, which a stride would skip over.
    """

    positions: Float[Tensor, "1 T D"]

    def __init__(self, *, length: int, patch: int, width: int, stem: Stem = "linear") -> None:
        super().__init__()
        if stem not in ("linear", "conv"):
            raise ValueError(f"got stem {stem!r}, expected 'linear' or 'conv'; set `stem`")
        self.patch = patch
        channels = 2 * len(LEADS)
        linear = stem == "linear"
        self.embed = nn.Conv1d(channels, width, patch, patch) if linear else _conv_stem(channels, patch, width)
        self.register_buffer("positions", sine_positions(length // patch, width)[None], persistent=False)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed ``signal`` [B, 12, L] in millivolts with ``sample_mask`` [B, 12, L], True where recorded."""
        mask = inputs["sample_mask"]
        signal = inputs["signal"]
        rooted = signal * torch.rsqrt(signal.abs() + _SMALL_WAVE)
        values = self.embed(torch.cat([rooted, mask.to(signal.dtype)], dim=1)).transpose(1, 2)
        padding = ~mask.any(dim=1).unflatten(1, (-1, self.patch)).any(dim=2)
        return Tokens(values, self.positions, padding)


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
