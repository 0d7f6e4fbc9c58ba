"""How much of a pretrained encoder a head may change."""

from abc import ABC, abstractmethod

from torch import nn


class Adapter(ABC):
    """Prepares a pretrained encoder, once its weights are there, for training with a head."""

    @abstractmethod
    def adapt(self, encoder: nn.Module) -> None:
        """Change the encoder in place; parameters that shall not train get ``requires_grad`` False."""


class Frozen(Adapter):
    """Leaves an encoder as it was pretrained: a linear probe, or a fusion of what frozen encoders say."""

    def adapt(self, encoder: nn.Module) -> None:
        """Freeze every parameter and every statistic."""
        encoder.requires_grad_(False).eval()
