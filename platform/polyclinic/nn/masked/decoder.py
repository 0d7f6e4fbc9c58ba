"""Lightweight decoders, one per modality, from visible tokens to predictions of the hidden ones."""

from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.encoder import MaskableEncoder
from polyclinic.nn.masked.joint import Context, JointEncoder
from polyclinic.nn.masked.reconstruction import Reconstruction
from polyclinic.nn.transformer import Attention, Transformer, Visible, attendable, zero_initialise


class CrossAttention(nn.Module):
    """A residual block: attention to a context, then a two-layer perceptron, each after a LayerNorm."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.context_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        zero_initialise(self.out, self.mlp[2])

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
    """A small transformer over the visible tokens at their places, and a learned vector at all other places.

    This is the decoder of He et al. (2022, section 3). With a context, a layer of attention to the visible tokens of
    all modalities follows. Bachmann et al. (2022, section 3.3) put it first; after the transformer it starts as
    identity and does not disturb what a modality learns from its tokens. With the layer first, predictions of the
    phantom's ECGs remained at the mean for hundreds of steps.

    Args:
        encoder: encoder of the modality.
        width: width of the decoder, W.
        depth: number of blocks.
        heads: number of attention heads.
        context: width of the tokens of all modalities; 0 for a single modality.

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
        """Predict the content of the hidden tokens, study by study.

        Args:
            visible: encoded tokens of the modality; None for studies that lack it.
            context: tokens of all modalities of these studies; None for a single modality.
            inputs: collated inputs of the studies, of which only sizes and positions are used.
            padding: True where the modality has no token.
            hidden: True for the tokens to predict.
        """
        batch, length = padding.shape
        sequence = self.unknown.expand(batch, length + 1, -1)
        if visible is not None:
            projected = self.project(visible.tokens)
            # Padding goes to an extra place at the end, which is cut off below.
            index = visible.places.masked_fill(visible.padding, length)[:, :, None].expand_as(projected)
            sequence = sequence.to(projected.dtype).scatter(1, index, projected)
        decoded = self.trunk(sequence[:, :length] + self.reconstruction.queries(inputs), padding)
        if context is not None:
            assert self.enter is not None
            assert self.cross is not None
            decoded = self.cross(decoded, self.enter(context.tokens), context.padding)
        return self.reconstruction.predict(decoded[hidden], hidden.nonzero()[:, 1])


class MaskedDecoders(nn.Module):
    """A lightweight decoder for each modality, after a joint encoder if there are several.

    Args:
        encoders: encoders by modality.
        joint_width: width J of the joint encoder.
        joint_depth: number of blocks of the joint encoder.
        joint_heads: attention heads of the joint encoder.
        read_depths: number of joint blocks before a modality is decoded; all blocks unless set.
        width: width of the decoders, W.
        depth: number of blocks of the decoders.
        heads: attention heads of the decoders.

    Raises:
        ValueError: an encoder cannot be pretrained by masking, or a depth is out of range.
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
        """Return the reconstruction of a modality."""
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
        """Predict the content of the hidden tokens of every modality in ``visible``.

        Args:
            visible: encoded tokens per modality, of the studies that have it, as in the other arguments.
            present: mask per modality of those studies among the B.
            inputs: collated inputs per modality, of which only sizes and positions are used.
            padding: True where there is no token.
            hidden: True for the tokens to predict.
        """
        context = self._context(visible, present, {name: present[name] for name in visible})
        return {
            name: self.each[name](tokens, context.get(name), inputs[name], padding[name], hidden[name])
            for name, tokens in visible.items()
        }

    def impute(
        self,
        visible: Mapping[str, Visible],
        present: Mapping[str, Bool[Tensor, " B"]],
        wanted: Collection[str],
    ) -> dict[str, dict[str, Tensor]]:
        """Impute modalities for the studies among the B that lack them and have another; see ``absent_studies``.

        Returns:
            The imputed inputs of these studies, by modality; modalities that no study lacks are omitted.

        Raises:
            ValueError: the model has a single modality, or predictions of a modality need the true signal.
        """
        if self.joint is None:
            raise ValueError(
                f"got a model of {list(self.each)} alone, which has nothing to predict it from; train a model of "
                "several modalities"
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
        """Return the mask per modality of the studies that lack it and have another."""
        any_present = torch.stack(list(present.values())).any(dim=0)
        return {name: any_present & ~present[name] for name in self.each}

    def idle(self, names: Collection[str]) -> list[nn.Module]:
        """Return the modules that a batch of these modalities does not use."""
        unused = [decoder for name, decoder in self.each.items() if name not in names]
        return unused if self.joint is None else [*unused, *self.joint.idle(names)]

    def _context(
        self,
        visible: Mapping[str, Visible],
        present: Mapping[str, Bool[Tensor, " B"]],
        wanted: Mapping[str, Bool[Tensor, " B"]],
    ) -> dict[str, Context]:
        """Return the contexts of the decoders, in rows of the wanted studies; empty for a single modality."""
        if self.joint is None or not wanted:
            return {}
        mixed = self.joint(visible, present, wanted)
        return {name: Context(*(tensor[rows] for tensor in mixed[name])) for name, rows in wanted.items()}
