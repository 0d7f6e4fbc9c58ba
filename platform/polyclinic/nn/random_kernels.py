"""Random convolution kernels: features of signals without training (Dempster et al. 2021, "MiniRocket")."""

import math
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_LENGTH, _RAISED = 9, 3
_EXAMPLES, _AT_ONCE = 32, 64
_MAX_CHANNELS = 9
_GOLDEN = (math.sqrt(5) + 1) / 2


class RandomKernels(nn.Module):
    """The share of a signal in which a convolution exceeds a bias, for many kernels, dilations and biases.

    The 84 kernels of length 9 have three weights of 2 and six of -1. Each is applied at every dilation to the sum of a
    few random channels, and compared with quantiles of its own outputs on some examples.

    Args:
        channels: channels C of the signals.
        length: samples T of the signals.
        dilations: number of dilations, spread exponentially up to the length of the signal.
        biases: biases of each kernel and dilation.
        seed: seed of the channels and examples.

    Attributes:
        outputs: number of features K.
    """

    weights: Float[Tensor, "D 84 C 9"]
    biases: Float[Tensor, "D 84 Q"]

    def __init__(self, *, channels: int, length: int, dilations: int = 16, biases: int = 8, seed: int = 0) -> None:
        super().__init__()
        if length < _LENGTH:
            raise ValueError(f"got signals of {length} samples, expected at least {_LENGTH}; set their length")
        rng = np.random.default_rng(seed)
        exponents = np.linspace(0, math.log2((length - 1) / (_LENGTH - 1)), dilations)
        self.dilations = sorted({int(2**exponent) for exponent in exponents})
        self.seed = seed
        kernels = np.array(
            [[2.0 if place in raised else -1.0 for place in range(_LENGTH)] for raised in _combinations()]
        )
        weights = np.zeros((len(self.dilations), len(kernels), channels, _LENGTH), dtype=np.float32)
        largest = min(channels, _MAX_CHANNELS)
        for dilated in weights:
            for kernel, weight in zip(kernels, dilated, strict=True):
                count = int(2 ** rng.uniform(0, math.log2(largest + 1)))
                weight[rng.choice(channels, size=count, replace=False)] = kernel
        self.register_buffer("weights", torch.from_numpy(weights))
        self.register_buffer("biases", torch.zeros(len(self.dilations), len(kernels), biases))
        self.outputs = self.biases.numel()

    @torch.no_grad()
    def fit(self, signals: Float[Tensor, "N C T"]) -> "RandomKernels":
        """Set the biases to quantiles of the convolutions of some of the signals; they follow the golden ratio."""
        chosen = np.random.default_rng(self.seed).permutation(len(signals))[:_EXAMPLES]
        count = self.biases[0].numel()
        quantiles = torch.arange(1, count + 1).mul(_GOLDEN).remainder(1).view(self.biases.shape[1:])
        for place, dilation in enumerate(self.dilations):
            outputs = self._convolved(signals[chosen], place, dilation).transpose(0, 1).flatten(1)
            # torch.quantile refuses more than 16 million values, and a kernel at a time needs little memory.
            for kernel, (values, wanted) in enumerate(zip(outputs, quantiles, strict=True)):
                self.biases[place, kernel] = torch.quantile(values, wanted.to(values.dtype))
        return self

    @torch.no_grad()
    def forward(self, signals: Float[Tensor, "N C T"]) -> Float[Tensor, "N K"]:
        """Return the share of samples above each bias."""
        return torch.cat([self._features(part) for part in signals.split(_AT_ONCE)])

    def _features(self, signals: Float[Tensor, "N C T"]) -> Float[Tensor, "N K"]:
        parts = []
        for place, dilation in enumerate(self.dilations):
            outputs = self._convolved(signals, place, dilation)
            biases = self.biases[place].unbind(1)
            parts += [(outputs > bias[:, None]).to(outputs.dtype).mean(dim=2) for bias in biases]
        return torch.cat(parts, dim=1)

    def _convolved(self, signals: Float[Tensor, "N C T"], place: int, dilation: int) -> Float[Tensor, "N 84 T"]:
        reach = dilation * (_LENGTH - 1) // 2
        return F.conv1d(signals, self.weights[place], dilation=dilation, padding=reach)


def _combinations() -> list[tuple[int, ...]]:
    return list(combinations(range(_LENGTH), _RAISED))
