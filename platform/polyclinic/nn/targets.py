"""Label columns, and the losses and predictions of the outputs of a head, with a slice of outputs per label column."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Kind = Literal["finding", "class", "level", "quantity"]

_RAREST = 0.01
"""Labels with a smaller share of studies weigh as if they had this one: few studies should not lead the encoders."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Numeric target of one label column.

    Attributes:
        name: name of the label.
        kind: ``finding``: 0 absent, 1 present, -1 uncertain. ``class`` and ``level``: the index in ``names``; levels
            are ordered. ``quantity``: a number.
        names: names of the classes or levels.
        unit: unit of a quantity.
        center: mean of a quantity over the training studies.
        scale: standard deviation of a quantity over the training studies.
    """

    name: str
    kind: Kind = "finding"
    names: tuple[str, ...] = ()
    unit: str = ""
    center: float = 0.0
    scale: float = 1.0


class Summed(NamedTuple):
    """The sum of some losses, and their number."""

    total: Float[Tensor, ""]
    terms: Int[Tensor, ""]


class Targets(nn.Module):
    """Meaning of the outputs of a head, and their loss.

    A finding has one output, its log-odds; a class has one output per name; a level has one score, compared with K-1
    ordered thresholds (CORAL: Cao, Mirjalili and Raschka 2020, section 3.2); a quantity has one output, in standard
    deviations from the mean of the training studies. ``balance`` divides the loss of each label by that of its best
    constant prediction.

    Args:
        targets: label columns.

    Raises:
        ValueError: there are no targets, or a quantity has one value in training.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        if not targets:
            raise ValueError("got no label to learn; set `labels` in the cohort file, or `data.labels`")
        if constant := [target.name for target in targets if target.kind == "quantity" and target.scale == 0]:
            raise ValueError(
                f"label {constant[0]!r} has one value in training, expected at least two; remove it from `data.labels`"
            )
        self.targets = tuple(targets)
        sizes = [len(target.names) if target.kind == "class" else 1 for target in targets]
        self.outputs = sum(sizes)
        self._slices = [slice(sum(sizes[:column]), sum(sizes[: column + 1])) for column in range(len(sizes))]
        levels = {str(column): target for column, target in enumerate(targets) if target.kind == "level"}
        self.steps = nn.ParameterDict(
            {column: nn.Parameter(torch.zeros(len(target.names) - 1)) for column, target in levels.items()}
        )
        self.center: Tensor
        self.scale: Tensor
        self.register_buffer("center", torch.tensor([target.center for target in targets]))
        self.register_buffer("scale", torch.tensor([target.scale for target in targets]))
        self.constant_loss: Tensor
        self.register_buffer("constant_loss", torch.ones(len(targets)), persistent=False)

    @property
    def findings(self) -> list[int]:
        """Indices of the findings among the label columns."""
        return [column for column, target in enumerate(self.targets) if target.kind == "finding"]

    @property
    def finding_outputs(self) -> list[int]:
        """Indices of the findings' log-odds among the outputs."""
        return [self._slices[column].start for column in self.findings]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of ``predictions``."""
        names = []
        for target in self.targets:
            names += [f"{target.name}={name}" for name in target.names] if target.kind == "class" else [target.name]
        return names

    def balance(self, labels: Float[np.ndarray, "N C"]) -> None:
        """Divide the loss of each label by that of the best constant prediction for the training labels.

        A loss of 1 is then one that explains nothing, whatever the label's kind and share of positives: rare findings
        and classes of many names count like others. Probabilities stay calibrated, which weighted positives would not
        be.
        """
        losses = [_constant_loss(target, values) for target, values in zip(self.targets, labels.T, strict=True)]
        self.constant_loss.copy_(torch.tensor(losses))

    def loss(self, outputs: Float[Tensor, "B K"], labels: Float[Tensor, "B C"]) -> Summed:
        """Return the sum of the losses of known labels, with a gradient path even without any, and their number."""
        return Summed(self.losses(outputs, labels).sum(), (~labels.isnan()).sum())

    def losses(self, outputs: Float[Tensor, "B K"], labels: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """Return the loss of each label of each study; 0 where it is unknown."""
        losses = [self._loss(column, outputs, labels[:, column]) for column in range(len(self.targets))]
        return torch.stack(losses, dim=1) / self.constant_loss * ~labels.isnan()

    def predictions(self, outputs: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Return log-odds of findings and of each class, expected levels, and quantities in their units."""
        return torch.cat([self._prediction(column, outputs[:, at]) for column, at in enumerate(self._slices)], dim=1)

    def _loss(self, column: int, outputs: Float[Tensor, "B K"], labels: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the loss of a label column; unknown labels count as 0 and are masked by the caller."""
        kind, output, filled = self.targets[column].kind, outputs[:, self._slices[column]], labels.nan_to_num()
        if kind == "class":
            return F.cross_entropy(output, filled.long(), reduction="none")
        if kind == "level":
            return self._level_loss(output + self._thresholds(column), filled)
        if kind == "quantity":
            return torch.square(output[:, 0] - (filled - self.center[column]) / self.scale[column])
        return F.binary_cross_entropy_with_logits(output[:, 0], filled, reduction="none")

    @staticmethod
    def _level_loss(logits: Float[Tensor, "B L"], levels: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        above = levels[:, None] > torch.arange(logits.shape[1], device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, above.to(logits.dtype), reduction="none").sum(dim=1)

    def _thresholds(self, column: int) -> Float[Tensor, " L"]:
        """Return decreasing thresholds, so that P(level > k) never rises with k."""
        steps = self.steps[str(column)]
        return torch.cat([steps[:1], steps[:1] - torch.cumsum(F.softplus(steps[1:]), dim=0)])

    def _prediction(self, column: int, output: Float[Tensor, "B k"]) -> Float[Tensor, "B k"]:
        kind = self.targets[column].kind
        if kind == "class":
            # Log-odds of a class against all others: its logit minus their log-sum-exp.
            diagonal = torch.eye(output.shape[1], device=output.device).bool()
            others = output[:, None, :].masked_fill(diagonal, -torch.inf)
            return output - others.logsumexp(dim=2)
        if kind == "level":
            return torch.sigmoid(output + self._thresholds(column)).sum(dim=1, keepdim=True)
        if kind == "quantity":
            return output * self.scale[column] + self.center[column]
        return output


def _constant_loss(target: Target, labels: Float[np.ndarray, " N"]) -> float:
    """Return the loss of the best constant prediction: an entropy, or the variance of a standardised quantity."""
    known = labels[~np.isnan(labels)]
    if target.kind == "quantity" or not len(known):
        return 1.0
    if target.kind == "class":
        shares = np.bincount(known.astype(int), minlength=len(target.names)) / len(known)
        return max(float(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum()), _entropy(_RAREST))
    if target.kind == "level":
        return sum(_entropy(float((known > level).mean())) for level in range(len(target.names) - 1))
    return _entropy(float(known.mean()))


def _entropy(share: float) -> float:
    clipped = min(max(share, _RAREST), 1 - _RAREST)
    return -(clipped * math.log(clipped) + (1 - clipped) * math.log1p(-clipped))
