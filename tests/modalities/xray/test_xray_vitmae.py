"""The image path against `ViTMAEForPreTraining` of transformers, with shared weights and masks."""

import pytest
from benchmarks.vitmae import gap


@pytest.mark.parametrize("normalised", [True, False])
def test_loss_and_gradients_are_those_of_the_published_model(normalised: bool) -> None:
    found = gap(normalised=normalised)
    assert found.loss < 1e-5
    assert len(found.gradients) > 40
    assert max(found.gradients.values()) < 1e-5, max(found.gradients, key=found.gradients.__getitem__)
