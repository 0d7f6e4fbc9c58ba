"""Inputs of the encoder: prepared and augmented images, stems, and what single pixels of the phantom reveal."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from scipy.stats import rankdata

from polyclinic.modality.physiology import Patient
from polyclinic_xray import XRay
from polyclinic_xray.chest import draw_chest
from polyclinic_xray.radiograph import Radiograph

CARRIED = ("cardiomegaly", "pulmonary_edema", "consolidation", "pleural_effusion", "airway_obstruction")


def test_prepare_keeps_the_aspect_ratio_and_averages_areas() -> None:
    wide = np.repeat(np.linspace(0, 1, 40, dtype=np.float32)[None], 20, axis=0)
    image = XRay(size=8, patch=4).prepare(Radiograph(wide, {}))["image"]
    assert image.shape == (1, 8, 8)
    assert (image[0, [0, 1, 6, 7]] == 0).all()
    inside = image[0, 2:6]
    torch.testing.assert_close(inside.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.std(correction=0), torch.tensor(1.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.diff(dim=1)[:, 1:-1].std(), torch.tensor(0.0), atol=1e-4, rtol=0)


def test_augmentation_applies_the_drawn_affine_map() -> None:
    size, seed = 33, 4
    modality = XRay(size=size, patch=11, contrast=0.0, noise=0.0)
    image = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    augmented = modality.augment({"image": torch.from_numpy(image)[None]}, np.random.default_rng(seed))["image"]
    assert type(augmented) is torch.Tensor
    rng = np.random.default_rng(seed)
    angle, zoom = math.radians(rng.uniform(-7, 7)), rng.uniform(-0.08, 0.08)
    shift = rng.uniform(-0.05, 0.05, size=2) * size
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.full(2, (size - 1) / 2)
    offset = middle + turn @ shift - turn @ ((1 + zoom) * middle)
    expected = affine_transform(image, turn * (1 + zoom), offset=offset, order=1, mode="nearest")
    np.testing.assert_allclose(augmented[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "patch"), [(96, 12), (64, 16), (24, 8)])
def test_the_conv_stem_gives_the_same_grid_of_tokens(size: int, patch: int) -> None:
    items = [{"image": torch.randn(1, size, size)} for _ in range(2)]
    shapes = set()
    for stem in ("linear", "conv"):
        modality = XRay(size=size, patch=patch, stem=stem)
        shapes.add(modality.default_encoder("nano")(modality.collate(items)).tokens.shape)
    assert shapes == {(2, (size // patch) ** 2, 64)}


def test_stems_that_cannot_be_built_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="product of 2 and 3; set `patch`"):
        XRay(size=28, patch=14, stem="conv").default_encoder("nano")


def test_no_single_pixel_reveals_a_finding() -> None:
    modality, images, labels = XRay(size=48, patch=12), [], []
    for number in range(300):
        study = Patient(np.random.default_rng([1, number])).visit(np.random.default_rng([2, number]))
        chest = Radiograph(draw_chest(study, np.random.default_rng([3, number])), {})
        images.append(modality.prepare(chest)["image"].flatten().numpy())
        labels.append([study.findings()[name] for name in CARRIED] + [study.heart_lie > 0])
    pixels, findings = np.stack(images), np.array(labels)
    ranks = rankdata(pixels, axis=0)
    for index, name in enumerate((*CARRIED, "heart_lie")):
        positive = findings[:, index]
        area = (ranks[positive].mean(axis=0) - (positive.sum() + 1) / 2) / (~positive).sum()  # Mann-Whitney U
        strongest = np.maximum(area, 1 - area).max()
        assert 0.6 < strongest < 0.9, f"{name}: {strongest:.3f}"
