"""Adapters: the selection of the weights of a pretrained encoder that are trained."""

from abc import ABC, abstractmethod

from torch import nn


class Adapter(ABC):
    """Prepares an encoder with pretrained weights for supervised training."""

    @abstractmethod
    def adapt(self, encoder: nn.Module) -> None:
        """Change the encoder in place; parameters that are not trained get ``requires_grad`` False."""


class Frozen(Adapter):
    """Freezes an encoder, for a linear probe or a fusion of frozen encoders."""

    def adapt(self, encoder: nn.Module) -> None:
        """Freeze all parameters and running statistics."""
        encoder.requires_grad_(False).eval()
