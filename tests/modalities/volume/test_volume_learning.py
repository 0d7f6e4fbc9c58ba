"""What a small model learns from phantom volumes."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from polyclinic.modality.physiology import Patient, Physiology
from polyclinic.nn import MaskableEncoder, MaskedDecoder, hide_units
from polyclinic_volume import Volume
from polyclinic_volume.phantom import SHAPE, SPACING, draw_chest
from polyclinic_volume.voxels import Voxels

SIZE = (24, 24, 24)
VOLUME = Volume(kind="ct", size=SIZE, spacing=(15.0, 12.0, 14.0), patch=8)


def studies(first: int, count: int) -> tuple[torch.Tensor, list[Physiology]]:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -np.array(SPACING) * (np.array(SHAPE) - 1) / 2
    items, latent = [], []
    for seed in range(first, first + count):
        physiology = Patient(np.random.default_rng(seed)).visit(np.random.default_rng(seed))
        voxels = Voxels(draw_chest(physiology, np.random.default_rng(seed)), affine, "ct", {})
        items.append(VOLUME.prepare(voxels)["volume"])
        latent.append(physiology)
    return torch.stack(items), latent


def test_a_head_finds_effusions_in_new_patients() -> None:
    torch.manual_seed(0)
    volumes, latent = studies(0, 90)
    labels = torch.tensor([float(each.findings()["pleural_effusion"]) for each in latent])
    encoder = VOLUME.default_encoder("nano")
    head = torch.nn.Linear(encoder.width, 1)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    train, test = slice(0, 60), slice(60, 90)
    for _ in range(40):
        order = torch.randperm(60)
        for batch in order.split(20):
            logits = head(encoder({"volume": volumes[train][batch]}).pooled)[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[train][batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        scores = head(encoder.eval()({"volume": volumes[test]}).pooled)[:, 0]
    assert roc_auc_score(labels[test].numpy(), scores.numpy()) > 0.85


def test_the_fixed_features_find_the_findings_of_the_chest() -> None:
    volumes, latent = studies(200, 140)
    features = VOLUME.fixed_features()({"volume": volumes}).numpy()
    areas = {}
    for name in ("pleural_effusion", "cardiomegaly", "pulmonary_edema", "airway_obstruction"):
        labels = np.array([each.findings()[name] for each in latent])
        model = LogisticRegression(C=0.1, max_iter=500).fit(features[:90], labels[:90])
        areas[name] = roc_auc_score(labels[90:], model.decision_function(features[90:]))
    assert min(areas.values()) > 0.7, areas
    # What only an electrocardiogram shows is not in the image.
    axis = np.array([each.electrical_axis > 0 for each in latent])
    model = LogisticRegression(C=0.1, max_iter=500).fit(features[:90], axis[:90])
    assert roc_auc_score(axis[90:], model.decision_function(features[90:])) < 0.75


@pytest.mark.slow
def test_masked_pretraining_explains_half_of_the_variance_of_hidden_cubes() -> None:
    torch.manual_seed(0)
    volumes, _ = studies(500, 48)
    plain = Volume(kind="ct", size=SIZE, spacing=(15.0, 12.0, 14.0), patch=8, normalised_targets=False)
    encoder = plain.default_encoder("nano")
    assert isinstance(encoder, MaskableEncoder)
    encoder.drop_readout()
    decoder = MaskedDecoder(encoder=encoder, width=64, depth=1, heads=2, context=0)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=150)
    for _ in range(150):
        loss = _loss(encoder, decoder, volumes[torch.randperm(40)[:16]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    level = volumes[:40].mean(dim=(0, 2, 3, 4))[:, None, None, None]
    with torch.no_grad():
        error = float(_loss(encoder, decoder, volumes[40:]))
    assert error < 0.5 * float((volumes[40:] - level).square().mean())


def _loss(encoder: MaskableEncoder, decoder: MaskedDecoder, volumes: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of predictions of hidden cubes."""
    inputs = {"volume": volumes}
    tokens = encoder.tokenize(inputs)
    units = decoder.reconstruction.units(inputs).expand(len(volumes), -1)
    keep = torch.full((len(volumes),), units.shape[1] // 2)
    hidden = hide_units(units, keep, torch.rand(units.shape))
    predicted = decoder(encoder.encode(tokens, hidden), None, inputs, tokens.padding, hidden)
    return (predicted - decoder.reconstruction.targets(inputs, hidden)).square().mean()
