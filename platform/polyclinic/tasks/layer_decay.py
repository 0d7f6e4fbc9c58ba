"""Smaller learning rates for earlier layers."""

from collections.abc import Mapping

from torch import nn


def layer_scales(encoders: Mapping[str, nn.Module] | nn.ModuleDict, decay: float) -> dict[str, float]:
    """By which factor the learning rate of each parameter of each encoder is lower (Bao et al. 2022, BEiT, 4.1).

    The last block and what follows it have factor 1, each block before it ``decay`` times that of the next, and what
    comes before the blocks once more. Blocks are the longest ``nn.ModuleList`` or ``nn.Sequential`` whose members
    have parameters; where a module stands in an encoder follows from the order in which it was registered.

    Args:
        encoders: by name.
        decay: above 0, at most 1.

    Returns:
        Factors by the parameter's name, ``NAME.PARAMETER``.

    Raises:
        ValueError: a decay out of range.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"got layer_decay {decay}, expected above 0 and at most 1; set `model.layer_decay`")
    return {
        f"{name}.{parameter}": decay**depth
        for name, encoder in encoders.items()
        for parameter, depth in _depths(encoder).items()
    }


def blocks_of(encoder: nn.Module) -> list[nn.Module]:
    """The blocks of an encoder, in order; none where it has no such list."""
    prefix, blocks = _longest(encoder)
    return list(encoder.get_submodule(prefix[:-1]).children()) if blocks else []


def _depths(encoder: nn.Module) -> dict[str, int]:
    """How many blocks follow the one that each parameter is in."""
    prefix, blocks = _longest(encoder)
    started = False
    depths = {}
    for name, _ in encoder.named_parameters():
        if blocks and name.startswith(prefix):
            started = True
            depths[name] = blocks - 1 - int(name.removeprefix(prefix).partition(".")[0])
        else:
            depths[name] = 0 if started or not blocks else blocks
    return depths


def _longest(encoder: nn.Module) -> tuple[str, int]:
    lists = [
        (len(module), f"{name}.")
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        and name
        and all(any(True for _ in member.parameters()) for member in module)
    ]
    count, prefix = max(lists, key=lambda entry: entry[0], default=(0, ""))
    return prefix, count
