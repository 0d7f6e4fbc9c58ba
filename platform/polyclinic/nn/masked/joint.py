"""One transformer over the visible tokens of every modality of a study."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.masked.masking import gather_tokens, places_of
from polyclinic.nn.transformer import Block, Visible, attendable


class Context(NamedTuple):
    """Tokens of width J of all modalities of B studies, and which of them are padding."""

    tokens: Float[Tensor, "B V J"]
    padding: Bool[Tensor, "B V"]


class JointEncoder(nn.Module):
    """Mixes what the encoders of all modalities say (Bachmann et al. 2022, section 3.2, behind encoders of their own).

    Tokens are packed, so that a modality that a study lacks takes no place. Each modality is read at a depth of its
    own, as pixels are found in earlier layers than words (Chen et al. 2022, "M3AE", section 2.2).

    Args:
        widths: of each encoder's tokens.
        width: of the joint tokens, J.
        depth: number of blocks.
        heads: attention heads; divides ``width``.
        read: after how many blocks each modality is decoded, ``depth`` unless named.

    Raises:
        ValueError: a depth to read at that is not from 1 to ``depth``, or of an unknown modality.
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
        # The bias of each map is what tells its modality.
        self.enter = nn.ModuleDict({name: nn.Linear(one, width) for name, one in widths.items()})
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=0.0) for _ in range(depth))
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in widths})

    def forward(
        self, visible: Mapping[str, Visible], present: Mapping[str, Bool[Tensor, " B"]], wanted: Collection[str]
    ) -> dict[str, Context]:
        """Mix the visible tokens of all B studies.

        Args:
            visible: per modality, of the studies that have it.
            present: which studies these are.
            wanted: modalities that will be decoded, among them some that no study has.

        Returns:
            Per wanted modality the tokens of all studies at the depth where it is read.
        """
        entered = {name: _aligned(self.enter[name], one, present[name]) for name, one in visible.items()}
        padding = torch.cat([one.padding for one in entered.values()], dim=1)
        order, absent = places_of(~padding)
        x = gather_tokens(torch.cat([one.tokens for one in entered.values()], dim=1), order)
        mask = attendable(absent)
        states = [x]
        for block in self.blocks[: self._deepest(wanted)]:
            states.append(block(states[-1], mask))
        return {name: Context(self.norms[name](states[self.read[name]]), absent) for name in wanted}

    def idle(self, names: Collection[str]) -> list[nn.Module]:
        """The parts that take no part when these modalities enter and are wanted."""
        absent = [name for name in self.read if name not in names]
        ends = [module for name in absent for module in (self.enter[name], self.norms[name])]
        return [*ends, *self.blocks[self._deepest(names) :]]

    def _deepest(self, wanted: Collection[str]) -> int:
        return max((self.read[name] for name in wanted), default=0)


def _aligned(enter: nn.Module, visible: Visible, present: Bool[Tensor, " B"]) -> Context:
    """One modality's tokens as rows of all studies; nothing but padding where a study lacks it."""
    tokens = enter(visible.tokens)
    shape = (len(present), tokens.shape[1])
    return Context(
        tokens.new_zeros(*shape, tokens.shape[2]).index_put((present,), tokens),
        visible.padding.new_ones(shape).index_put((present,), visible.padding),
    )
