"""Light decoders, one per modality: from visible tokens to predictions of the hidden ones."""

from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.encoder import MaskableEncoder
from polyclinic.nn.masked.joint import Context, JointEncoder
from polyclinic.nn.masked.reconstruction import Reconstruction
from polyclinic.nn.transformer import Attention, Transformer, Visible, attendable, start_silent


class CrossAttention(nn.Module):
    """Attention from a sequence to a context, then a two-layer perceptron, each behind a LayerNorm, with residuals."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.context_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        start_silent(self.out, self.mlp[2])

    def forward(
        self, x: Float[Tensor, "B T D"], context: Float[Tensor, "B V D"], padding: Bool[Tensor, "B V"]
    ) -> Float[Tensor, "B T D"]:
        """Attend from every token to the context that is not padding."""
        query = self._split(self.query(self.query_norm(x)))
        key, value = self.key_value(self.context_norm(context)).chunk(2, dim=2)
        mixed = F.scaled_dot_product_attention(
            query, self._split(key), self._split(value), attn_mask=attendable(padding)
        )
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + torch.as_tensor(self.mlp(self.mlp_norm(x)))

    def _split(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T K"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MaskedDecoder(nn.Module):
    """Visible tokens at their places, a learned vector at all others, and a small transformer over them.

    This is the decoder of He et al. (2022, section 3). With a context, one layer of attention to the visible tokens of
    every modality follows (Bachmann et al. 2022, section 3.3, put it first): behind the transformer it adds nothing to
    what a modality learns from itself until it finds something to add. Ahead of it, the phantom's ECGs stayed at the
    mean for hundreds of steps.

    Args:
        encoder: of the modality that is decoded.
        width: of the decoder, W.
        depth: blocks.
        heads: attention heads.
        context: width of the tokens of all modalities; 0 for a modality alone.

    Raises:
        ValueError: the encoder cannot be pretrained by masking.
    """

    def __init__(self, *, encoder: MaskableEncoder, width: int, depth: int, heads: int, context: int) -> None:
        super().__init__()
        self.reconstruction: Reconstruction = encoder.reconstruction(width)
        self.project = nn.Linear(encoder.width, width)
        self.unknown = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.trunk = Transformer(width=width, depth=depth, heads=heads)
        for module in self.trunk.modules():
            if isinstance(module, Attention):
                module.start_alike()
        self.enter = nn.Linear(context, width) if context else None
        self.cross = CrossAttention(width=width, heads=heads) if context else None

    def forward(
        self,
        visible: Visible | None,
        context: Context | None,
        inputs: dict[str, Tensor],
        padding: Bool[Tensor, "B T"],
        hidden: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "n P"]:
        """Predict what the hidden tokens hide, study by study.

        Args:
            visible: encoded tokens of the modality itself; None where these studies lack it.
            context: tokens of all modalities of these studies; None for a modality alone.
            inputs: of the studies that are decoded; nothing but their sizes and positions is read.
            padding: True where the modality has no token.
            hidden: which tokens to predict.
        """
        batch, length = padding.shape
        sequence = self.unknown.expand(batch, length + 1, -1)
        if visible is not None:
            own = self.project(visible.tokens)
            # The places of padding lie beyond the sequence, and are cut off.
            index = visible.places.masked_fill(visible.padding, length)[:, :, None].expand_as(own)
            sequence = sequence.to(own.dtype).scatter(1, index, own)
        decoded = self.trunk(sequence[:, :length] + self.reconstruction.queries(inputs), padding)
        if context is not None:
            assert self.enter is not None
            assert self.cross is not None
            decoded = self.cross(decoded, self.enter(context.tokens), context.padding)
        return self.reconstruction.predict(decoded[hidden], hidden.nonzero()[:, 1])


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
