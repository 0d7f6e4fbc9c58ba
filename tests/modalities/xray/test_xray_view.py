from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyclinic_xray import XRay
from polyclinic_xray.radiograph import Radiograph

ROOT = Path(__file__).parents[2]


def radiograph(height: int, width: int) -> Radiograph:
    pixels = np.random.default_rng(0).uniform(0.2, 1.0, (height, width)).astype(np.float32)
    return Radiograph(pixels, {"bits": 8.0})


@pytest.mark.parametrize(
    ("height", "width", "size", "side"),
    [(101, 67, 32, 96), (67, 101, 32, 96), (20, 31, 32, 32), (3000, 2500, 224, 896), (1100, 900, 2048, 1024)],
)
def test_the_view_places_the_image_as_the_encoder_sees_it(height: int, width: int, size: int, side: int) -> None:
    plugin, raw = XRay(size=size, patch=1), radiograph(height, width)
    grey = plugin.view(raw).grey
    assert grey.shape == (side, side)
    visible = plugin.prepare(raw)["image"][0].numpy() != 0
    for axis in (0, 1):
        view_places = np.flatnonzero(grey.any(axis=axis))
        input_places = np.flatnonzero(visible.any(axis=axis))
        assert (view_places[0], view_places[-1] + 1) == (
            round(input_places[0] * side / size),
            round((input_places[-1] + 1) * side / size),
        )


def test_pixels_keep_their_grey_value() -> None:
    pixels = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32).repeat(16, axis=0).repeat(16, axis=1)
    grey = XRay(size=32, patch=8).view(Radiograph(pixels, {"bits": 16.0})).grey
    assert [int(grey[row, column]) for row in (3, 28) for column in (3, 28)] == [0, 64, 128, 255]


def test_the_caption_names_the_applied_window() -> None:
    plugin = XRay(size=32, patch=8)
    windowed = plugin.read(ROOT / "golden" / "dicom" / "linear_exact.dcm")
    assert plugin.view(windowed).caption == (
        f"{windowed.pixels.shape[0]} x {windowed.pixels.shape[1]} pixels of 12 bits, VOI window (linear exact)"
    )


def test_the_caption_counts_several_windows_from_one() -> None:
    facts: dict[str, float | str] = {"bits": 12.0, "voi": "LINEAR", "voi_chosen": "1 of 3"}
    caption = XRay(size=32, patch=8).view(Radiograph(np.zeros((8, 8), dtype=np.float32), facts)).caption
    assert caption == "8 x 8 pixels of 12 bits, VOI window (linear) 2 of 3"


def test_the_caption_of_an_image_without_windows_names_no_window(tmp_path: Path) -> None:
    Image.fromarray(np.eye(40, dtype=np.uint8) * 200).save(tmp_path / "a.png")
    plugin = XRay(size=32, patch=8)
    assert plugin.view(plugin.read(tmp_path / "a.png")).caption == "40 x 40 pixels of 8 bits"


def test_relevance_of_patches_is_a_grid_over_the_square() -> None:
    plugin, raw = XRay(size=32, patch=8), radiograph(40, 30)
    relevance = torch.cat([torch.tensor([9.0]), torch.arange(16.0)])
    located = plugin.locate(raw, plugin.prepare(raw), relevance)
    assert located.across == (0.0, 1.0)
    np.testing.assert_allclose(located.strength, np.arange(16).reshape(4, 4) / 15)
