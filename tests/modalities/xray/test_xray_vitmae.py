"""The image path against `ViTMAEForPreTraining` of transformers, with shared weights and masks."""

import pytest
from benchmarks.vitmae import gap


@pytest.mark.parametrize("normalised", [True, False])
def test_loss_and_gradients_equal_the_published_model(normalised: bool) -> None:
    differences = gap(normalised=normalised)
    assert differences.loss < 1e-5
    assert len(differences.gradients) > 40
    assert max(differences.gradients.values()) < 1e-5, max(differences.gradients, key=differences.gradients.__getitem__)
