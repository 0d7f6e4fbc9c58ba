"""The contrastive model for inference."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn import Encoder, IdentityHead, Projection
from polyclinic.nn.linear_path import LinearPath
from polyclinic.objectives import Objective


class ZeroShotModel(nn.Module):
    """Encoders, their projections, and the objective that scores, with the weight names of the training task.

    Args:
        encoders: encoders by modality.
        heads: projections by modality.
        objective: objective with the scoring rule.

    Attributes:
        widths: widths of the embeddings by modality.
        linear_path: None, as in a supervised model without one.
    """

    linear_path: LinearPath | None = None

    def __init__(
        self,
        *,
        encoders: Mapping[str, Encoder],
        heads: Mapping[str, Projection | IdentityHead],
        objective: Objective,
    ) -> None:
        super().__init__()
        self.encoders, self.heads = nn.ModuleDict(dict(encoders)), nn.ModuleDict(dict(heads))
        self.objective = objective
        self.widths = {name: head.outputs for name, head in heads.items()}

    def encoder(self, name: str) -> Encoder:
        """Return the encoder of a modality."""
        found = self.encoders[name]
        assert isinstance(found, Encoder)
        return found

    def forward(self, name: str, inputs: dict[str, Tensor]) -> tuple[Float[Tensor, "b D"], Float[Tensor, "b d"]]:
        """Return the pooled vectors of one modality's studies, and their embeddings."""
        pooled: Tensor = self.encoders[name](inputs).pooled
        return pooled, self.heads[name](pooled)


def weights_of(state: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Select the weights of a task that are needed to score these modalities."""
    prefixes = ("objective.", *(f"{part}.{name}." for name in names for part in ("encoders", "heads")))
    return {key: value for key, value in state.items() if key.startswith(prefixes)}


def in_precision(inputs: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Convert floating-point inputs to a precision; integers and masks are unchanged."""
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
