"""Random convolution kernels as the fixed features of an ECG."""

from collections.abc import Iterable
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from polyclinic.nn import FixedFeatures, RandomKernels, in_double

_BATCHES_OF_EXAMPLES = 8


class KernelFeatures(FixedFeatures):
    """The share of the signal above each bias of random kernels; see ``RandomKernels``.

    Args:
        leads: leads of the signals.
        length: samples of the signals.
    """

    def __init__(self, *, leads: int, length: int) -> None:
        super().__init__()
        self.kernels = RandomKernels(channels=leads, length=length)
        self.outputs = self.kernels.outputs

    @torch.no_grad()
    def fit(self, batches: Iterable[dict[str, Tensor]]) -> None:
        """Learn the biases from some of the signals."""
        self.kernels.fit(torch.cat([inputs["signal"] for inputs in islice(batches, _BATCHES_OF_EXAMPLES)]))

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Return the features of ``inputs["signal"]`` [B, L, T]."""
        signal = inputs["signal"]
        # A sample beside a bias must fall on the same side in training and in a bundle, whatever their precision.
        buffers = {name: in_double(value) for name, value in self.kernels.named_buffers()}
        found: Tensor = functional_call(self.kernels, buffers, (in_double(signal),))
        return found.to(signal.dtype)
