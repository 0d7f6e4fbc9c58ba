"""Supervised models of several folds as one model, whose predictions are averaged."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.models.supervised import SupervisedModel
from polyclinic.nn import Encoder
from polyclinic.nn.linear_path import LinearPath
from polyclinic.nn.targets import Targets


class SupervisedEnsemble(nn.Module):
    """Members that share their labels and architecture, each with the statistics of its modalities in its fold.

    A prediction is the mean over the members: of log-odds, expected levels, and quantities in their units (Dietterich
    2000, section 2). The features of a modality are those of the members side by side.

    Args:
        members: models of the folds, two or more.

    Attributes:
        widths: widths of the features by modality, over all members.
    """

    def __init__(self, members: Sequence[SupervisedModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.widths = {name: sum(member.widths[name] for member in members) for name in members[0].widths}

    @property
    def first(self) -> SupervisedModel:
        """The first member, whose tokens explain a prediction, and whose pooled vectors are compared with training."""
        return self._models[0]

    @property
    def targets(self) -> Targets:
        """Meaning of the outputs, for the labels of all members."""
        return self.first.targets

    @property
    def linear_path(self) -> LinearPath | None:
        """The linear model of the first member."""
        return self.first.linear_path

    @property
    def heads(self) -> nn.ModuleDict:
        """Normalisation of the first member, by modality."""
        return self.first.heads

    def encoder(self, name: str) -> Encoder:
        """Return the first member's encoder of a modality."""
        return self.first.encoder(name)

    def forward(self, name: str, inputs: dict[str, Tensor]) -> tuple[Float[Tensor, "b D"], Float[Tensor, "b d"]]:
        """Return the pooled vectors of the first member for one modality's studies, and the features of all members."""
        encoded = [
            member(name, part)
            for member, part in zip(self._models, member_parts(inputs, len(self.members)), strict=True)
        ]
        return encoded[0][0], torch.cat([features for _, features in encoded], dim=1)

    def fuse(
        self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B K"]:
        """Return the mean of the members' predictions from the features; see ``Targets.predictions``."""
        split = {
            name: value.split([member.widths[name] for member in self._models], dim=1)
            for name, value in features.items()
        }
        predictions = [
            member.fuse({name: parts[place] for name, parts in split.items()}, present)
            for place, member in enumerate(self._models)
        ]
        return torch.stack(predictions).mean(dim=0)

    @property
    def _models(self) -> list[SupervisedModel]:
        return [member for member in self.members if isinstance(member, SupervisedModel)]


def joined_parts(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Join what the members' plugins prepared: entries of the first keep their names, others begin with a number."""
    joined = dict(parts[0])
    for place, part in enumerate(parts[1:], start=1):
        joined |= {f"{place}.{key}": value for key, value in part.items()}
    return joined


def member_parts(joined: Mapping[str, Tensor], members: int) -> list[dict[str, Tensor]]:
    """Return the entries of each member; see ``joined_parts``."""
    if members == 1:
        return [dict(joined)]
    parts: list[dict[str, Tensor]] = [{} for _ in range(members)]
    for key, value in joined.items():
        place, dot, name = key.partition(".")
        numbered = dot and place.isdecimal()
        parts[int(place) if numbered else 0][name if numbered else key] = value
    return parts
