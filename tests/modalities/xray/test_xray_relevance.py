import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from polyclinic.nn.relevance import token_relevance
from polyclinic_xray import XRay
from polyclinic_xray.timm_encoder import TimmEncoder


def drawn(relevance: torch.Tensor) -> np.ndarray:
    """Draw the relevance and return the opacity of the heat map over the image."""
    axes = Figure().subplots()
    XRay(size=32, patch=8).draw_relevance({"image": torch.randn(1, 32, 32)}, relevance, axes)
    image, heat = axes.images
    assert list(heat.get_extent()) == list(image.get_extent())
    return np.asarray(heat.get_array())[:, :, 3]


def test_patches_are_drawn_row_by_row_over_the_image() -> None:
    opacity = drawn(torch.zeros(16).index_fill(0, torch.tensor(6), 3.0))
    assert opacity.shape == (4, 4)
    assert np.argwhere(opacity > 0).tolist() == [[1, 2]]
    assert not drawn(torch.zeros(16)).any()


@pytest.mark.parametrize("ahead", [1, 2])
def test_class_tokens_are_not_drawn_and_do_not_dim_the_patches(ahead: int) -> None:
    patches = torch.rand(49)
    with_class = torch.cat([torch.full((ahead,), 100.0), patches])
    np.testing.assert_array_equal(drawn(with_class), drawn(patches))


def test_relevance_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="0 tokens"):
        drawn(torch.zeros(0))


@pytest.mark.parametrize("name", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_gradients_reach_the_feature_map_of_an_averaging_backbone(name: str) -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder(name=name, size=64 if "swin" in name else None).double()
    inputs = {"image": torch.randn(2, 1, 64, 64, dtype=torch.float64)}
    direction = torch.randn(encoder.width, dtype=torch.float64)
    relevance = token_relevance(encoder, inputs, lambda pooled: pooled @ direction)
    encoded = encoder.eval()(inputs)
    tokens = encoded.tokens.detach().numpy()
    share = (tokens - tokens.mean(axis=1, keepdims=True)) @ direction.numpy() / tokens.shape[1]
    np.testing.assert_allclose(relevance, np.maximum(share, 0), atol=1e-8)
    assert (relevance > 0).any()
