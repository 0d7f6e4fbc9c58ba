"""Comparison of our masked autoencoder of images with `ViTMAEForPreTraining` of transformers at equal weights."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from polyclinic.data import Batch
from polyclinic.nn import Transformer, TransformerEncoder
from polyclinic.tasks import MaskedPretraining
from polyclinic_xray import XRay
from polyclinic_xray.tokens import PatchTokenizer

SIZE, PATCH, WIDTH, DEPTH, HEADS, STUDIES = 32, 8, 64, 3, 4, 5
_NAMES = {
    "vit.embeddings.cls_token": "encoders.xray.tokenizer.class_token",
    "vit.embeddings.patch_embeddings.projection": "encoders.xray.tokenizer.embed",
    "vit.layers": "encoders.xray.trunk.blocks",
    "vit.layernorm": "encoders.xray.trunk.norm",
    "decoder.mask_token": "decoders.each.xray.unknown",
    "decoder.decoder_embed": "decoders.each.xray.project",
    "decoder.decoder_layers": "decoders.each.xray.trunk.blocks",
    "decoder.decoder_norm": "decoders.each.xray.trunk.norm",
    "decoder.decoder_pred": "decoders.each.xray.reconstruction.head",
    "layernorm_before": "attention_norm",
    "layernorm_after": "mlp_norm",
    "attention.o_proj": "attention.out",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


class Gap(NamedTuple):
    """Differences of the loss, and of the gradient of each parameter (largest element), by our name."""

    loss: float
    gradients: dict[str, float]


def gap(*, normalised: bool = True, seed: int = 0) -> Gap:
    """Compare loss and gradients of both models with the same weights, images and masks, in float32."""
    torch.manual_seed(seed)
    task = masked_task(normalised=normalised)
    images = torch.randn(STUDIES, 1, SIZE, SIZE)
    batch = Batch(
        inputs={"xray": {"image": images}}, present={"xray": torch.ones(STUDIES, dtype=torch.bool)},
        labels=torch.zeros(STUDIES, 0), study_ids=[f"S{i}" for i in range(STUDIES)],
        patient_ids=[f"P{i}" for i in range(STUDIES)], broken=(),
    )  # fmt: skip
    hidden = task.draw_masks(batch)
    loss = task.losses(batch, hidden, task(batch, hidden))["xray"].mean()
    loss.backward()
    reference = published(task, normalised=normalised)
    # The reference leaves patches of low noise visible.
    theirs = reference(images, noise=hidden["xray"][:, 1:].float()).loss
    theirs.backward()
    expected = translated({name: value.grad for name, value in reference.named_parameters() if value.requires_grad})
    ours = {name: value.grad for name, value in task.named_parameters() if value.grad is not None}
    assert ours.keys() == expected.keys()
    largest = {name: float((ours[name] - expected[name]).abs().max()) for name in ours}
    return Gap(loss=float((loss - theirs).detach().abs()), gradients=largest)


def masked_task(*, normalised: bool) -> MaskedPretraining:
    """Build our task, with a class token before the patches as in the reference."""
    tokenizer = PatchTokenizer(size=SIZE, patch=PATCH, width=WIDTH, class_token=True, normalised_targets=normalised)
    encoder = TransformerEncoder(tokenizer=tokenizer, trunk=Transformer(width=WIDTH, depth=DEPTH, heads=HEADS))
    plugin = XRay(size=SIZE, patch=PATCH)
    return MaskedPretraining(
        modalities={"xray": plugin}, encoders={"xray": encoder}, decoder_width=WIDTH // 2, decoder_depth=2,
        decoder_heads=HEADS,
    )  # fmt: skip


def published(task: MaskedPretraining, *, normalised: bool) -> ViTMAEForPreTraining:
    """Build the reference model with our weights and positions."""
    config = ViTMAEConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * WIDTH,
        image_size=SIZE, patch_size=PATCH, num_channels=1, decoder_hidden_size=WIDTH // 2,
        decoder_num_hidden_layers=2, decoder_num_attention_heads=HEADS, decoder_intermediate_size=2 * WIDTH,
        layer_norm_eps=1e-5, mask_ratio=0.75, norm_pix_loss=normalised,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config)
    weights = dict(task.named_parameters())
    encoder: Any = task.encoders["xray"]
    with torch.no_grad():
        for name, value in model.named_parameters():
            ours, part = our_name(name)
            if value.requires_grad:
                value.copy_(weights[ours] if part is None else weights[ours].chunk(3)[part])
        model.vit.embeddings.position_embeddings.copy_(encoder.tokenizer.positions)
        model.decoder.decoder_pos_embed.copy_(task.decoders.reconstruction("xray").positions)
    return model


def our_name(theirs: str) -> tuple[str, int | None]:
    """Return our name of a reference parameter, and its third of our joint matrix of query, key and value, if any."""
    name = theirs
    for old, new in _NAMES.items():
        name = name.replace(old, new)
    for part, projection in enumerate(_PROJECTIONS):
        if projection in name:
            return name.replace(projection, "qkv"), part
    return name, None


def translated(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the reference under our names."""
    parts: dict[str, dict[int, Tensor]] = {}
    for name, value in theirs.items():
        ours, part = our_name(name)
        parts.setdefault(ours, {})[part or 0] = value
    return {name: torch.cat([tensors[part] for part in sorted(tensors)]) for name, tensors in parts.items()}
