"""Tasks whose encoders may be frozen or adapted."""

from collections.abc import Iterable, Mapping

import lightning.pytorch as L
from torch import nn

from polyclinic.nn import Adapter
from polyclinic.system.names import refuse_unknown


class AdaptingTask(L.LightningModule):
    """A task that freezes or adapts encoders once their pretrained weights are loaded.

    Attributes:
        encoders: encoders by modality.
        adapters: adapters by modality.
    """

    encoders: nn.ModuleDict
    adapters: dict[str, Adapter]
    _adapted = False

    def configure_model(self) -> None:
        """Freeze or adapt the encoders; pretrained weights are loaded before this hook."""
        if not self._adapted:
            for name, adapter in self.adapters.items():
                adapter.adapt(self.encoders[name])
        self._adapted = True


def checked_adapters(adapters: Mapping[str, Adapter] | None, modalities: Iterable[str]) -> dict[str, Adapter]:
    """Return the adapters by modality.

    Raises:
        ValueError: one is of a modality that the task does not have.
    """
    refuse_unknown("modality", adapters or {}, modalities, "set `model.adapters`")
    return dict(adapters or {})
