"""The supervised model for inference."""

from collections.abc import Mapping

from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn import Encoder, Fusion, StudyNorm
from polyclinic.nn.targets import Targets


class SupervisedModel(nn.Module):
    """Encoders, their normalisation, and the fusion that predicts the labels, with the weight names of the task.

    Args:
        encoders: encoders by modality.
        heads: normalisation by modality.
        fusion: fusion of the features.
        targets: meaning of the outputs of the fusion.

    Attributes:
        widths: widths of the features by modality, which may differ from those of the encoders.
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, Encoder],
        heads: Mapping[str, StudyNorm],
        fusion: Fusion,
        targets: Targets,
    ) -> None:
        super().__init__()
        self.encoders, self.heads = nn.ModuleDict(dict(encoders)), nn.ModuleDict(dict(heads))
        self.fusion, self.targets = fusion, targets
        self.widths = {name: head.outputs for name, head in heads.items()}

    def encoder(self, name: str) -> Encoder:
        """Return the encoder of a modality."""
        found = self.encoders[name]
        assert isinstance(found, Encoder)
        return found

    def forward(self, name: str, inputs: dict[str, Tensor]) -> tuple[Float[Tensor, "b D"], Float[Tensor, "b d"]]:
        """Return the pooled vectors of one modality's studies, and their features."""
        pooled: Tensor = self.encoders[name](inputs).pooled
        return pooled, self.heads[name](pooled)

    def fuse(
        self, features: Mapping[str, Float[Tensor, "B _"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B K"]:
        """Return the predictions, such as the log-odds of findings, from the features; see ``Targets.predictions``."""
        outputs: Tensor = self.fusion(features, present).outputs
        return self.targets.predictions(outputs)
