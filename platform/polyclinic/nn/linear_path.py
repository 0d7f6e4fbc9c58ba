"""A linear model on fixed features of the modalities, whose outputs are averaged with those of a network."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.fixed_features import FixedFeatures, in_double
from polyclinic.nn.fusion import Fusion


class _LinearMap(nn.Module):
    """Features of one modality, and their weights, which are zero until a linear model was fitted."""

    weight: Float[Tensor, "F K"]
    offset: Float[Tensor, " K"]

    def __init__(self, features: FixedFeatures, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("weight", torch.zeros(features.outputs, outputs))
        self.register_buffer("offset", torch.zeros(outputs))

    def forward(self, inputs: dict[str, Tensor]) -> Float[Tensor, "B K"]:
        # Sums over thousands of features must not differ between a checkpoint and its bundle.
        added = in_double(self.features(inputs)) @ in_double(self.weight) + in_double(self.offset)
        return added.to(self.weight.dtype)


class LinearPath(nn.Module):
    """A linear model on fixed features of every modality, whose outputs are averaged with those of a network.

    The two are trained apart: the linear model before the network, by a convex problem. Of few studies it learns more
    than a network does, of many it learns less, and ``share`` moves between them.

    Args:
        features: fixed features by modality.
        outputs: number of outputs K.

    Attributes:
        bias: outputs of the linear model for a study without any of these modalities.
        fitted: outputs that the linear model predicts; the others are those of the network.
        share: share of the network in the fitted outputs; 1 before the linear model was fitted.
    """

    bias: Float[Tensor, " K"]
    fitted: Bool[Tensor, " K"]
    share: Float[Tensor, ""]

    def __init__(self, features: Mapping[str, FixedFeatures], outputs: int) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({name: _LinearMap(each, outputs) for name, each in features.items()})
        self.register_buffer("bias", torch.zeros(outputs))
        self.register_buffer("fitted", torch.zeros(outputs, dtype=torch.bool))
        self.register_buffer("share", torch.ones(()))

    def twin(self) -> "LinearPath":
        """Return a path with other weights on the same features."""
        return LinearPath({name: self.features(name) for name in self.maps}, len(self.bias))

    def features(self, name: str) -> FixedFeatures:
        """Return the fixed features of a modality."""
        found = self.maps[name].features
        assert isinstance(found, FixedFeatures)
        return found

    @torch.no_grad()
    def contributions(
        self, inputs: Mapping[str, dict[str, Tensor]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> dict[str, Float[Tensor, "B K"]]:
        """Return what each modality adds to the outputs of the linear model; zeros where a study lacks it.

        Args:
            inputs: collated inputs by modality, with rows only for the studies that have it.
            present: mask of the studies that have the modality, by modality.
        """
        added = {}
        for name in self.maps:
            added[name] = self.bias.new_zeros(len(present[name]), len(self.bias))
            if name in inputs:
                added[name][present[name]] = self.contribution(name, inputs[name])
        return added

    @torch.no_grad()
    def contribution(self, name: str, inputs: dict[str, Tensor]) -> Float[Tensor, "b K"]:
        """Return what one modality adds to the outputs of studies that have it."""
        # Rounding to bfloat16 would move samples over the biases of random kernels.
        with torch.autocast(self.bias.device.type, enabled=False):
            added: Tensor = self.maps[name](inputs)
        return added

    def outputs(
        self, contributions: Mapping[str, Float[Tensor, "B K"]], present: Mapping[str, Bool[Tensor, " B"]]
    ) -> Float[Tensor, "B K"]:
        """Return the outputs of the linear model from the modalities in ``present``."""
        masked = [contributions[name] * present[name][:, None] for name in self.maps]
        return torch.stack(masked).sum(dim=0) + self.bias

    @property
    def is_alone(self) -> bool:
        """Whether the network has no share in any output."""
        return bool(self.fitted.all()) and float(self.share) == 0

    def averaged(self, network: Float[Tensor, "B K"], linear: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Average the outputs of the network and of the linear model by ``share``."""
        share = torch.where(self.fitted, self.share, 1.0)
        return share * network + (1 - share) * linear


def fused_outputs(
    fusion: Fusion,
    path: LinearPath | None,
    widths: Mapping[str, int],
    features: Mapping[str, Float[Tensor, "B _"]],
    present: Mapping[str, Bool[Tensor, " B"]],
) -> Float[Tensor, "B K"]:
    """Fuse the first part of each modality's features, and average the outputs with those of the linear path.

    Args:
        fusion: fusion of the network.
        path: linear path; None without one.
        widths: width of the first part of each modality's features, which the fusion takes.
        features: features by modality, each followed by its part of the linear path.
        present: mask of the studies whose modality is used, by modality.
    """
    network: Tensor = fusion({name: value[:, : widths[name]] for name, value in features.items()}, present).outputs
    if path is None:
        return network
    linear = {name: features[name][:, widths[name] :] for name in path.maps}
    return path.averaged(network, path.outputs(linear, present))


def with_pooled(head: nn.Module, pooled: Float[Tensor, "B D"], features: Float[Tensor, "B _"]) -> Float[Tensor, "B _"]:
    """Return the features of one modality from other pooled vectors, with the same part of the linear path.

    Args:
        head: normalisation or projection of the modality.
        pooled: pooled vectors of its encoder.
        features: features whose first part is replaced; the second part is empty without a linear path.
    """
    first: Tensor = head(pooled)
    return torch.cat([first, features[:, first.shape[1] :]], dim=1)
