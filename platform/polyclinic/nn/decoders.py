"""From the visible tokens of all modalities to predictions of what is hidden."""

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.decoder import MaskedDecoder
from polyclinic.nn.encoder import MaskableEncoder
from polyclinic.nn.joint import Context, JointEncoder
from polyclinic.nn.reconstruction import Reconstruction
from polyclinic.nn.transformer import Visible


class MaskedDecoders(nn.Module):
    """A light decoder for each modality, behind a joint encoder where there are several.

    Args:
        encoders: of the modalities that will be decoded.
        joint_width: width J of the joint encoder.
        joint_depth: its blocks.
        joint_heads: its attention heads.
        read_depths: after how many of its blocks a modality is decoded; after the last unless named.
        width: of the decoders, W.
        depth: their blocks.
        heads: their attention heads.

    Raises:
        ValueError: an encoder whose tokens show each other, or a depth out of range.
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, MaskableEncoder],
        joint_width: int,
        joint_depth: int,
        joint_heads: int,
        read_depths: Mapping[str, int],
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        several = len(encoders) > 1
        widths = {name: encoder.width for name, encoder in encoders.items()}
        self.joint = (
            JointEncoder(widths=widths, width=joint_width, depth=joint_depth, heads=joint_heads, read=read_depths)
            if several
            else None
        )
        self.each = nn.ModuleDict()
        for name, encoder in encoders.items():
            context = joint_width if several else 0
            try:
                self.each[name] = MaskedDecoder(encoder=encoder, width=width, depth=depth, heads=heads, context=context)
            except ValueError as error:
                raise ValueError(f"modality {name!r} cannot be masked: {error}") from None

    def reconstruction(self, name: str) -> Reconstruction:
        """What the tokens of a modality hide."""
        found = self.each[name].reconstruction
        assert isinstance(found, Reconstruction)
        return found

    def forward(
        self,
        visible: Mapping[str, Visible],
        present: Mapping[str, Bool[Tensor, " B"]],
        inputs: Mapping[str, dict[str, Tensor]],
        padding: Mapping[str, Bool[Tensor, "_ _"]],
        hidden: Mapping[str, Bool[Tensor, "_ _"]],
    ) -> dict[str, Float[Tensor, "_ _"]]:
        """Predict what the hidden tokens of every modality in ``visible`` hide.

        Args:
            visible: encoded tokens of the studies that have the modality, as all that follow.
            present: which of the B studies these are.
            inputs: collated; nothing but their sizes and positions is read.
            padding: True where there is no token.
            hidden: which tokens to predict.
        """
        context = self._context(visible, present, {name: present[name] for name in visible})
        return {
            name: self.each[name](one, context.get(name), inputs[name], padding[name], hidden[name])
            for name, one in visible.items()
        }

    def impute(
        self,
        visible: Mapping[str, Visible],
        present: Mapping[str, Bool[Tensor, " B"]],
        wanted: Collection[str],
    ) -> dict[str, dict[str, Tensor]]:
        """Predict modalities for those of the B studies that lack them and have another; see ``absent_studies``.

        Returns:
            The inputs of these studies, by modality; none of a modality that no study lacks.

        Raises:
            ValueError: one modality alone, or one that cannot be predicted without the truth beside it.
        """
        if self.joint is None:
            raise ValueError(
                f"got a model of {list(self.each)} alone, which has nothing to predict it from; train one on several "
                "modalities"
            )
        absent = {
            name: rows for name, rows in self.absent_studies(present).items() if name in wanted and bool(rows.any())
        }
        contexts = self._context(visible, present, absent) if absent else {}
        filled = {}
        for name, context in contexts.items():
            reconstruction = self.reconstruction(name)
            blank = reconstruction.blank(len(context.tokens))
            everything = reconstruction.units(blank).expand(len(context.tokens), -1) >= 0
            predicted = self.each[name](None, context, blank, ~everything, everything)
            filled[name] = reconstruction.fill(blank, everything, predicted)
        return filled

    def absent_studies(self, present: Mapping[str, Bool[Tensor, " B"]]) -> dict[str, Bool[Tensor, " B"]]:
        """Per modality, the studies that lack it and have another."""
        some = torch.stack(list(present.values())).any(dim=0)
        return {name: some & ~present[name] for name in self.each}

    def idle(self, names: Collection[str]) -> list[nn.Module]:
        """The parts that take no part in a batch of these modalities."""
        unused = [decoder for name, decoder in self.each.items() if name not in names]
        return unused if self.joint is None else [*unused, *self.joint.idle(names)]

    def _context(
        self,
        visible: Mapping[str, Visible],
        present: Mapping[str, Bool[Tensor, " B"]],
        wanted: Mapping[str, Bool[Tensor, " B"]],
    ) -> dict[str, Context]:
        """What the decoders attend to, in rows of the wanted studies; nothing for a single modality."""
        if self.joint is None or not wanted:
            return {}
        mixed = self.joint(visible, present, wanted)
        return {name: Context(*(one[rows] for one in mixed[name])) for name, rows in wanted.items()}
