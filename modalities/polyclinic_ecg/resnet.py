"""A one-dimensional residual network for electrocardiograms (He et al. 2016; Wang et al. 2017 for time series)."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, cat, nn

from polyclinic.nn import Encoded, Encoder, masked_mean
from polyclinic_ecg.recording import LEADS

_GROUPS = 8


class ResidualBlock(nn.Module):
    """Two convolutions with group normalisation and a shortcut; the first may reduce the length by ``stride``."""

    def __init__(self, *, channels: int, width: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
            nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False),
            nn.GroupNorm(_GROUPS, width),
        )
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Conv1d(channels, width, 1, stride=stride, bias=False)

    def forward(self, x: Float[Tensor, "B C L"]) -> Float[Tensor, "B W M"]:
        """Add the body's output to the shortcut's."""
        summed: Tensor = self.body(x) + self.shortcut(x)
        return F.relu(summed)


class ResNet1dEncoder(Encoder):
    """Residual stages over the leads and their masks; each stage after the first halves time and doubles the width.

    Group normalisation keeps the embedding of a study independent of its batch, also in training.

    Args:
        stages: number of blocks of each stage.
        width: channels of the first stage, a multiple of eight; the width of the encoder is
            ``width * 2 ** (len(stages) - 1)``.
        kernel: odd length of the convolutions.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, *, stages: Sequence[int] = (2, 2, 2, 2), width: int = 64, kernel: int = 7) -> None:
        super().__init__()
        if not stages or min(stages) < 1:
            raise ValueError(f"got stages {tuple(stages)}, expected one or more positive numbers; set `stages`")
        if width < 1 or width % _GROUPS or kernel % 2 == 0:
            raise ValueError(
                f"got width {width} and kernel {kernel}, expected a multiple of {_GROUPS} and an odd number; "
                "set `width` and `kernel`"
            )
        self.stem = nn.Sequential(
            nn.Conv1d(2 * len(LEADS), width, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
        )
        blocks, channels = [], width
        for stage, count in enumerate(stages):
            for block in range(count):
                stride = 2 if stage and not block else 1
                blocks.append(ResidualBlock(channels=channels, width=width * 2**stage, stride=stride, kernel=kernel))
                channels = width * 2**stage
        self.stages = nn.Sequential(*blocks)
        self.width = channels

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode ``signal`` [B, 12, L] in mV with ``sample_mask`` [B, 12, L]; tokens are time steps."""
        signal, mask = inputs["signal"], inputs["sample_mask"].to(inputs["signal"].dtype)
        features = self.stages(self.stem(cat([signal, mask], dim=1)))
        recorded = F.adaptive_max_pool1d(mask.amax(dim=1, keepdim=True), features.shape[2])[:, 0] > 0
        tokens = features.transpose(1, 2)
        return Encoded(tokens, masked_mean(tokens, ~recorded), ~recorded)
