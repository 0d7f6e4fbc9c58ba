"""Networks of MONAI by name, without their classifier, with random or local weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from monai.networks import nets
from monai.networks.nets.segresnet_ds import SegResEncoder
from safetensors.torch import load_file
from torch import Tensor, nn

from polyclinic.nn import Encoded, WeightAccount

_RESNETS = {"ResNet10": nets.resnet10, "ResNet18": nets.resnet18, "ResNet34": nets.resnet34, "ResNet50": nets.resnet50}
_DENSENETS = {"DenseNet121": nets.DenseNet121, "DenseNet169": nets.DenseNet169, "DenseNet201": nets.DenseNet201}
_SENETS = {"SEResNet50": nets.SEResNet50, "SEResNext50": nets.SEResNext50}
_WIDTHS = {
    **{"DenseNet121": 1024, "DenseNet169": 1664, "DenseNet201": 1920},
    **{"ResNet10": 512, "ResNet18": 512, "ResNet34": 512, "ResNet50": 2048},
    **{"SEResNet50": 2048, "SEResNext50": 2048, "SegResEncoder": 256},
}
NETWORKS = tuple(_WIDTHS)
"""Networks that can be named. The table is closed, so that a bundle builds nothing else, and nothing is downloaded.
MONAI's vision transformers need einops, which no extra installs; the default encoder of a plugin is one."""

_LAYERS = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")


class MonaiNetwork(nn.Module):
    """A network of MONAI from images or volumes to tokens and their mean.

    Args:
        name: one of ``NETWORKS``.
        dimensions: 2 for images and 3 for volumes.
        channels: number of input channels.
        weights: local ``.safetensors`` file, or a file of ``torch.save`` that is read with ``weights_only``, in MONAI's
            layout; random weights unless set.

    Attributes:
        width: width of tokens and pooled vectors.
        account: account of the loaded weights; None for random ones.

    Raises:
        ValueError: the name is unknown, or the weights are not those of the network.
    """

    def __init__(
        self,
        *,
        name: str,
        dimensions: int,
        channels: int,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        if name not in NETWORKS:
            raise ValueError(f"got MONAI network {name!r}, expected one of {', '.join(NETWORKS)}; set `name`")
        self._name = name
        self.backbone = _build(name, dimensions, channels)
        self.account = None if weights is None else _load(self.backbone, weights, name)
        self.width = _WIDTHS[name]

    def forward(self, inputs: Float[Tensor, "B C ..."]) -> Encoded:
        """Return the final feature map as tokens, and their mean."""
        tokens = _FEATURES[_family(self._name)](self.backbone, inputs).flatten(2).transpose(1, 2)
        padding = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Encoded(tokens, tokens.mean(dim=1), padding)


def _family(name: str) -> str:
    tables = {"resnet": _RESNETS, "densenet": _DENSENETS, "senet": _SENETS}
    return next((family for family, table in tables.items() if name in table), "segres")


def _build(name: str, dimensions: int, channels: int) -> Any:
    if name in _RESNETS:
        return _RESNETS[name](pretrained=False, spatial_dims=dimensions, n_input_channels=channels, feed_forward=False)
    if name in _DENSENETS:
        network = _DENSENETS[name](spatial_dims=dimensions, in_channels=channels, out_channels=1)
        network.class_layers = nn.Identity()
        return network
    if name in _SENETS:
        network = _SENETS[name](spatial_dims=dimensions, in_channels=channels, num_classes=1)
        network.last_linear = nn.Identity()
        return network
    return SegResEncoder(spatial_dims=dimensions, in_channels=channels)


def _resnet(backbone: Any, inputs: Tensor) -> Tensor:
    values = inputs
    for layer in _LAYERS:
        values = getattr(backbone, layer)(values)
    return values


_FEATURES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "resnet": _resnet,
    "densenet": lambda backbone, inputs: torch.relu(backbone.features(inputs)),
    "senet": lambda backbone, inputs: backbone.features(inputs),
    "segres": lambda backbone, inputs: backbone(inputs)[-1],
}


def _load(backbone: Any, weights: Path, name: str) -> WeightAccount:
    if not weights.is_file():
        raise ValueError(f"got weights {weights.name!r}, which is not a file; set `weights` to a local file")
    try:
        if weights.suffix == ".safetensors":
            stored: Mapping[str, Tensor] = load_file(weights)
        else:
            stored = torch.load(weights, map_location="cpu", weights_only=True)
        stored = stored.get("state_dict", stored)  # type: ignore[assignment]
        stored = {key.removeprefix("module."): value for key, value in stored.items()}
        own = backbone.state_dict()
        fitting = {key: value for key, value in stored.items() if key in own and own[key].shape == value.shape}
    except Exception as error:
        raise ValueError(
            f"got weights {weights.name!r} that cannot be read ({type(error).__name__}), expected weights in MONAI's "
            "layout; set `weights`"
        ) from None
    if missing := [key for key, _ in backbone.named_parameters() if key not in fitting]:
        raise ValueError(
            f"got weights {weights.name!r} without {len(missing)} of the parameters of {name!r} (first "
            f"{missing[0]!r}), expected all of them; set `weights` or `name`"
        )
    backbone.load_state_dict(fitting, strict=False)
    return WeightAccount(
        source=weights.name,
        loaded=tuple(fitting),
        new=tuple(key for key in own if key not in fitting),
        dropped=tuple(key for key in stored if key not in fitting),
    )
