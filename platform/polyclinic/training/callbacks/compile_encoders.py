"""Compiled encoders, as a callback of the trainer."""

from collections.abc import Iterator, Sequence

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from polyclinic.nn.transformer import Block


class CompileEncoders(Callback):
    """Compiles what encoders spend their time in with ``torch.compile``, each by itself.

    An encoder with the shared trunk is compiled block by block, another one as a whole. Modules are compiled in place:
    the names of their weights stay, and a checkpoint of a compiled run is that of any other. The number of studies
    that have a modality differs from step to step, so shapes are left open unless ``dynamic`` says otherwise.

    Args:
        modalities: whose encoders; all unless set.
        backend: of ``torch.compile``; ``inductor`` needs a C++ compiler, or Triton on a GPU.
        dynamic: whether shapes may change without compiling again.
    """

    def __init__(
        self, *, modalities: Sequence[str] | None = None, backend: str = "inductor", dynamic: bool = True
    ) -> None:
        self._modalities, self._backend, self._dynamic = modalities, backend, dynamic
        self._done: set[int] = set()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compile; what it costs is paid in the first steps.

        Raises:
            ValueError: a modality that the task has no encoder for.
        """
        encoders = dict(pl_module.get_submodule("encoders").named_children())
        names = list(encoders) if self._modalities is None else self._modalities
        if unknown := sorted(set(names) - set(encoders)):
            raise ValueError(
                f"got modalities {unknown} to compile, expected some of {list(encoders)}; set `modalities` of "
                "CompileEncoders"
            )
        for part in (part for name in names for part in _parts(encoders[name])):
            if id(part) not in self._done:
                part.compile(backend=self._backend, dynamic=self._dynamic)
                self._done.add(id(part))


def _parts(encoder: nn.Module) -> Iterator[nn.Module]:
    """The blocks of the shared trunk, or the encoder itself: masked pretraining calls no encoder as a whole."""
    blocks: list[nn.Module] = [module for module in encoder.modules() if isinstance(module, Block)]
    yield from blocks or [encoder]
