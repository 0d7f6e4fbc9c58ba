"""The linear path in validation: its outputs, computed once, and the share of the network beside it."""

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.nn import LinearPath
from polyclinic.nn.targets import Targets
from polyclinic.tasks.validation import mean_loss

_SHARES = 11
"""Number of shares of the network, from 0 to 1, of which validation chooses one."""


class LinearOutputs:
    """Outputs of a linear path by study, which do not change between the validations of a run."""

    def __init__(self) -> None:
        self._outputs: dict[str, Tensor] = {}

    def of(self, batch: Batch, path: LinearPath) -> Float[Tensor, "B K"]:
        """Return the outputs for the studies of a batch."""
        if not all(study_id in self._outputs for study_id in batch.study_ids):
            rows = path.outputs(path.contributions(batch.inputs, batch.present), batch.present)
            self._outputs |= dict(zip(batch.study_ids, rows.float(), strict=True))
        return torch.stack([self._outputs[study_id] for study_id in batch.study_ids])


def choose_share(
    path: LinearPath,
    targets: Targets,
    network: Float[Tensor, "N K"],
    linear: Float[Tensor, "N K"],
    labels: Float[Tensor, "N C"],
) -> None:
    """Set the share of the network with which the average of both has the smallest loss."""
    if not bool(path.fitted.any()):
        return
    losses = []
    for share in torch.linspace(0, 1, _SHARES).tolist():
        path.share.fill_(share)
        losses.append((mean_loss(targets, path.averaged(network, linear), labels), share))
    path.share.fill_(min(losses)[1])
