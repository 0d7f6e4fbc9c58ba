"""Weights in fewer bytes."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

WEIGHTS = ("float32", "bfloat16", "int8")
_SCALE = ".scale"
_SMALL = 1024
_LEVELS = 127


def pack(state: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
    """Store matrices in fewer bytes; vectors, small tensors and whole numbers stay as they are.

    ``int8`` keeps for each row of a matrix its largest magnitude over 127 and multiples of that: symmetric, one scale
    per output (Jacob et al. 2018, section 2, without zero points).

    Args:
        state: by name.
        weights: one of ``WEIGHTS``.

    Raises:
        ValueError: other weights.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"got weights {weights!r}, expected one of {WEIGHTS}; set `--weights`")
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        if weights == "float32" or not _is_large_matrix(value):
            packed[name] = value.contiguous()
        elif weights == "bfloat16":
            packed[name] = value.to(torch.bfloat16).contiguous()
        else:
            packed[name + _SCALE] = scale = _row_scales(value)
            packed[name] = torch.round(value.flatten(1) / scale[:, None]).to(torch.int8).reshape(value.shape)
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``pack`` stored, with fractions in float32."""
    return {
        name: _unpacked(value, packed.get(name + _SCALE))
        for name, value in packed.items()
        if not (name.endswith(_SCALE) and packed.get(name.removesuffix(_SCALE), value).dtype == torch.int8)
    }


def _unpacked(value: Tensor, scale: Tensor | None) -> Tensor:
    if scale is not None and value.dtype == torch.int8:
        return (value.flatten(1).float() * scale[:, None]).reshape(value.shape)
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _is_large_matrix(value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim >= 2 and value.numel() >= _SMALL


def _row_scales(value: Tensor) -> Float[Tensor, " R"]:
    return value.flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / _LEVELS
