"""Losses and readings of a head's outputs, one slice of them per label column."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.data import Target
from polyclinic.tasks.losses import Summed


class Targets(nn.Module):
    """What the outputs of a head mean.

    A finding has one output, its log-odds; a class as many as it has names; a level one score, which K-1 ordered
    thresholds cut (CORAL: Cao, Mirjalili and Raschka 2020, section 3.2); a quantity one, in deviations from the mean
    of the training studies.

    Args:
        targets: the label columns.

    Raises:
        ValueError: there are none, or a quantity does not vary in training.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        if not targets:
            raise ValueError("got no label to learn; set `labels` in the cohort file, or `data.labels`")
        if still := [target.name for target in targets if target.kind == "quantity" and target.scale == 0]:
            raise ValueError(
                f"label {still[0]!r} has one value in training, expected at least two; leave it out of `data.labels`"
            )
        self.targets = tuple(targets)
        sizes = [len(target.names) if target.kind == "class" else 1 for target in targets]
        self.outputs = sum(sizes)
        self._slices = [slice(sum(sizes[:place]), sum(sizes[: place + 1])) for place in range(len(sizes))]
        levels = {str(place): target for place, target in enumerate(targets) if target.kind == "level"}
        self.steps = nn.ParameterDict(
            {place: nn.Parameter(torch.zeros(len(one.names) - 1)) for place, one in levels.items()}
        )
        self.center: Tensor
        self.scale: Tensor
        self.register_buffer("center", torch.tensor([target.center for target in targets]))
        self.register_buffer("scale", torch.tensor([target.scale for target in targets]))

    @property
    def findings(self) -> list[int]:
        """The places of the findings among the label columns."""
        return [place for place, target in enumerate(self.targets) if target.kind == "finding"]

    @property
    def finding_outputs(self) -> list[int]:
        """The places of their log-odds among the outputs."""
        return [self._slices[place].start for place in self.findings]

    @property
    def columns(self) -> list[str]:
        """Names of what ``readings`` gives."""
        return [
            name
            for target in self.targets
            for name in ([f"{target.name}={one}" for one in target.names] if target.kind == "class" else [target.name])
        ]

    def loss(self, outputs: Float[Tensor, "B K"], labels: Float[Tensor, "B C"]) -> Summed:
        """Sum over the labels that are not NaN, with a graph also when there are none, and their number."""
        known = ~labels.isnan()
        each = torch.stack([self._each(place, outputs, labels[:, place]) for place in range(len(self.targets))], dim=1)
        return Summed((each * known).sum(), known.sum())

    def readings(self, outputs: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Log-odds of findings and of each class, expected levels, and quantities in their own units."""
        return torch.cat([self._reading(place, outputs[:, at]) for place, at in enumerate(self._slices)], dim=1)

    def _each(self, place: int, outputs: Float[Tensor, "B K"], labels: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        kind, own, known = self.targets[place].kind, outputs[:, self._slices[place]], labels.nan_to_num()
        if kind == "class":
            return F.cross_entropy(own, known.long(), reduction="none")
        if kind == "level":
            return self._level_loss(own + self._thresholds(place), known)
        if kind == "quantity":
            return torch.square(own[:, 0] - (known - self.center[place]) / self.scale[place])
        return F.binary_cross_entropy_with_logits(own[:, 0], known, reduction="none")

    @staticmethod
    def _level_loss(logits: Float[Tensor, "B L"], levels: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        above = levels[:, None] > torch.arange(logits.shape[1], device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, above.to(logits.dtype), reduction="none").sum(dim=1)

    def _thresholds(self, place: int) -> Float[Tensor, " L"]:
        """Falling, so that a higher level is never likelier than a lower one."""
        steps = self.steps[str(place)]
        return torch.cat([steps[:1], steps[:1] - torch.cumsum(F.softplus(steps[1:]), dim=0)])

    def _reading(self, place: int, own: Float[Tensor, "B k"]) -> Float[Tensor, "B k"]:
        kind = self.targets[place].kind
        if kind == "class":
            others = own[:, None, :].masked_fill(torch.eye(own.shape[1], device=own.device).bool(), -torch.inf)
            return own - others.logsumexp(dim=2)
        if kind == "level":
            return torch.sigmoid(own + self._thresholds(place)).sum(dim=1, keepdim=True)
        if kind == "quantity":
            return own * self.scale[place] + self.center[place]
        return own
