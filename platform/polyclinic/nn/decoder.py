"""The light decoder of one modality: from visible tokens to predictions of the hidden ones."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polyclinic.nn.encoder import MaskableEncoder
from polyclinic.nn.joint import Context
from polyclinic.nn.reconstruction import Reconstruction
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
