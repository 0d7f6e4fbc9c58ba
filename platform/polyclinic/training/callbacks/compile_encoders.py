"""Callback that compiles encoders with ``torch.compile``."""

from collections.abc import Iterator, Sequence

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from polyclinic.nn.transformer import Block
from polyclinic.system.names import refuse_unknown


class CompileEncoders(Callback):
    """Compiles encoders with ``torch.compile``, block by block or, without the shared trunk, as one module.

    Modules are compiled in place: the names of weights are unchanged, and so is the checkpoint. The number of studies
    with a modality differs from step to step, so shapes are dynamic by default.

    Args:
        modalities: modalities whose encoders are compiled; all unless set.
        backend: backend of ``torch.compile``; ``inductor`` needs a C++ compiler, or Triton on a GPU.
        dynamic: whether shapes may change without compiling again.
    """

    def __init__(
        self, *, modalities: Sequence[str] | None = None, backend: str = "inductor", dynamic: bool = True
    ) -> None:
        self._modalities, self._backend, self._dynamic = modalities, backend, dynamic
        self._done: set[int] = set()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Mark the encoders for compilation, which takes place in the first steps.

        Raises:
            ValueError: the task has no encoder for a modality.
        """
        encoders = dict(pl_module.get_submodule("encoders").named_children())
        names = list(encoders) if self._modalities is None else self._modalities
        refuse_unknown("modality", names, encoders, "set `modalities` of CompileEncoders")
        for part in (part for name in names for part in _parts(encoders[name])):
            if id(part) not in self._done:
                part.compile(backend=self._backend, dynamic=self._dynamic)
                self._done.add(id(part))


def _parts(encoder: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of the shared trunk, or the encoder itself.

    Blocks, because masked pretraining never calls the forward method of an encoder.
    """
    blocks: list[nn.Module] = [module for module in encoder.modules() if isinstance(module, Block)]
    yield from blocks or [encoder]
