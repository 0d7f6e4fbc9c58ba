"""The joint encoder: a transformer over the visible tokens of all modalities of a study."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.masked.masking import gather_tokens, places_of
from polyclinic.nn.transformer import Block, Visible, attendable


class Context(NamedTuple):
    """Tokens of width J of all modalities of B studies, and the mask of padding."""

    tokens: Float[Tensor, "B V J"]
    padding: Bool[Tensor, "B V"]


class JointEncoder(nn.Module):
    """Mixes the tokens of all modalities (Bachmann et al. 2022, section 3.2), after an encoder per modality.

    Tokens are packed, so that missing modalities use no computation. Each modality is decoded from a separate depth,
    as pixels are represented in earlier layers than words (Chen et al. 2022, "M3AE", section 2.2).

    Args:
        widths: token widths of the encoders by modality.
        width: width of the joint tokens, J.
        depth: number of blocks.
        heads: attention heads; divides ``width``.
        read: number of blocks before each modality is decoded; ``depth`` unless set.

    Raises:
        ValueError: a read depth is not from 1 to ``depth``, or its modality is unknown.
    """

    def __init__(
        self, *, widths: Mapping[str, int], width: int, depth: int, heads: int, read: Mapping[str, int]
    ) -> None:
        super().__init__()
        if wrong := {name: at for name, at in read.items() if name not in widths or not 1 <= at <= depth}:
            raise ValueError(
                f"got read_depths {wrong}, expected modalities of {list(widths)} with a depth from 1 to {depth}; "
                "set `model.read_depths` or `model.joint_depth`"
            )
        self.read = {name: read.get(name, depth) for name in widths}
        # The bias of each map serves as the embedding of its modality.
        self.enter = nn.ModuleDict({name: nn.Linear(size, width) for name, size in widths.items()})
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=0.0) for _ in range(depth))
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in widths})

    def forward(
        self, visible: Mapping[str, Visible], present: Mapping[str, Bool[Tensor, " B"]], wanted: Collection[str]
    ) -> dict[str, Context]:
        """Mix the visible tokens of all B studies.

        Args:
            visible: visible tokens per modality, of the studies that have it.
            present: mask per modality of those studies among the B.
            wanted: modalities to decode, which may include some that no study has.

        Returns:
            The tokens of all studies per wanted modality, at its read depth.
        """
        aligned = {name: _align(self.enter[name], tokens, present[name]) for name, tokens in visible.items()}
        padding = torch.cat([part.padding for part in aligned.values()], dim=1)
        # Real tokens of each study move to the front, so that the sequence is as long as the fullest study.
        order, absent = places_of(~padding)
        x = gather_tokens(torch.cat([part.tokens for part in aligned.values()], dim=1), order)
        mask = attendable(absent)
        states = [x]
        for block in self.blocks[: self._deepest(wanted)]:
            states.append(block(states[-1], mask))
        return {name: Context(self.norms[name](states[self.read[name]]), absent) for name in wanted}

    def idle(self, names: Collection[str]) -> list[nn.Module]:
        """Return the modules that a batch does not use if it has and decodes only these modalities."""
        absent = [name for name in self.read if name not in names]
        ends = [module for name in absent for module in (self.enter[name], self.norms[name])]
        return [*ends, *self.blocks[self._deepest(names) :]]

    def _deepest(self, wanted: Collection[str]) -> int:
        return max((self.read[name] for name in wanted), default=0)


def _align(enter: nn.Module, visible: Visible, present: Bool[Tensor, " B"]) -> Context:
    """Expand a modality's tokens to rows of all studies, with padding for those that lack it."""
    tokens = enter(visible.tokens)
    shape = (len(present), tokens.shape[1])
    return Context(
        tokens.new_zeros(*shape, tokens.shape[2]).index_put((present,), tokens),
        visible.padding.new_ones(shape).index_put((present,), visible.padding),
    )
