"""The supervised model for inference."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn import Encoder, Fusion, LinearPath, StudyNorm
from polyclinic.nn.linear_path import fused_outputs
from polyclinic.nn.targets import Targets


class SupervisedModel(nn.Module):
    """Encoders, their normalisation, and the fusion that predicts the labels, with the weight names of the task.

    Args:
        encoders: encoders by modality.
        heads: normalisation by modality.
        fusion: fusion of the features.
        targets: meaning of the outputs of the fusion.
        linear_path: linear model whose outputs are averaged with those of the fusion; None without one.

    Attributes:
        widths: widths of the features by modality: that of the encoder, and of its part of the linear path.
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, Encoder],
        heads: Mapping[str, StudyNorm],
        fusion: Fusion,
        targets: Targets,
        linear_path: LinearPath | None,
    ) -> None:
        super().__init__()
        self.encoders, self.heads = nn.ModuleDict(dict(encoders)), nn.ModuleDict(dict(heads))
        self.fusion, self.targets = fusion, targets
        self.linear_path = linear_path
        added = {} if linear_path is None else dict.fromkeys(linear_path.maps, targets.outputs)
        self._pooled_widths = {name: head.outputs for name, head in heads.items()}
        self.widths = {name: width + added.get(name, 0) for name, width in self._pooled_widths.items()}

    def encoder(self, name: str) -> Encoder:
        """Return the encoder of a modality."""
        found = self.encoders[name]
        assert isinstance(found, Encoder)
        return found

    def forward(self, name: str, inputs: dict[str, Tensor]) -> tuple[Float[Tensor, "b D"], Float[Tensor, "b d"]]:
        """Return the pooled vectors of one modality's studies, and their features."""
        pooled: Tensor = self.encoders[name](inputs).pooled
        features: Tensor = self.heads[name](pooled)
        if self.linear_path is None or name not in self.linear_path.maps:
            return pooled, features
        return pooled, torch.cat([features, self.linear_path.contribution(name, inputs)], dim=1)

    def fuse(
        self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B K"]:
        """Return the predictions, such as the log-odds of findings, from the features; see ``Targets.predictions``."""
        return self.targets.predictions(
            fused_outputs(self.fusion, self.linear_path, self._pooled_widths, features, present)
        )
