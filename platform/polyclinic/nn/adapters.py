"""Adapters: the selection of the weights of a pretrained encoder that are trained."""

from abc import ABC, abstractmethod

from torch import nn

from polyclinic.nn.encoder import MaskableEncoder


class Adapter(ABC):
    """Selects what is trained of an encoder with pretrained weights."""

    @abstractmethod
    def adapt(self, encoder: nn.Module) -> None:
        """Change the encoder in place; parameters that are not trained get ``requires_grad`` False."""

    @abstractmethod
    def merge(self, encoder: nn.Module) -> None:
        """Return an adapted encoder to the modules that it had, with what was trained in their weights."""


class Frozen(Adapter):
    """Freezes an encoder, for a linear probe, a fusion of frozen encoders, or the alignment of another modality.

    Args:
        readout: whether the readout is trained, which masked pretraining leaves at its initial values.
    """

    def __init__(self, *, readout: bool = False) -> None:
        self.readout = readout

    def adapt(self, encoder: nn.Module) -> None:
        """Freeze parameters and running statistics.

        Raises:
            ValueError: the readout shall be trained, and the encoder has none with weights.
        """
        encoder.requires_grad_(False).eval()
        if not self.readout:
            return
        readout = encoder.get_submodule(encoder.readout[:-1]) if isinstance(encoder, MaskableEncoder) else nn.Identity()
        if not list(readout.parameters()):
            raise ValueError(
                f"got readout true for {type(encoder).__name__}, which has no readout with weights; set it to false"
            )
        readout.requires_grad_(True).train()

    def merge(self, encoder: nn.Module) -> None:
        """Change nothing, as a frozen encoder has its modules and weights."""
