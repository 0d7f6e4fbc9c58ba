"""The linear path in validation: its outputs, computed once, and the share of the network beside it."""

import torch
from jaxtyping import Float
from torch import Tensor

from polyclinic.data import Batch
from polyclinic.nn import LinearPath
from polyclinic.nn.targets import Targets

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


def add_held_out_weights(weights: dict[str, Tensor]) -> bool:
    """Add the linear model that predicts validation studies to a checkpoint from before there was one.

    Its linear path learned from the training studies alone, and predicts validation studies, too.

    Returns:
        Whether the checkpoint has a linear path.
    """
    path = {
        name.removeprefix("linear_path."): value for name, value in weights.items() if name.startswith("linear_path.")
    }
    for name, value in path.items():
        weights.setdefault(f"held_out_path.{name}", value)
    return bool(path)


def choose_share(
    path: LinearPath,
    targets: Targets,
    network: Float[Tensor, "N K"],
    linear: Float[Tensor, "N K"],
    labels: Float[Tensor, "N C"],
) -> None:
    """Set the smallest share of the network whose loss is within one standard error of the smallest loss.

    The linear model was fitted once, and of the network there is another one in every epoch, of which the best is kept:
    on few studies some network seems to help by chance. The standard error is that of the mean difference between the
    losses of a study (one-standard-error rule; Breiman et al. 1984, Classification and Regression Trees, 3.4.3).
    """
    if not bool(path.fitted.any()) or not len(labels):
        return
    shares = torch.linspace(0, 1, _SHARES).tolist()
    by_study = []
    for share in shares:
        path.share.fill_(share)
        by_study.append(targets.losses(path.averaged(network, linear), labels).sum(dim=1))
    losses = torch.stack(by_study)
    excess = losses - losses[losses.sum(dim=1).argmin()]
    error = len(labels) ** 0.5 * excess.std(dim=1, correction=min(1, len(labels) - 1))  # of the sum over studies
    path.share.fill_(shares[int((excess.sum(dim=1) <= error).int().argmax())])
