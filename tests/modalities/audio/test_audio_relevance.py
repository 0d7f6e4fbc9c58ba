import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from polyclinic_audio import Audio


def test_tokens_are_drawn_along_time_and_the_last_one_may_be_cropped() -> None:
    audio = Audio(seconds=2.0, mels=24, patch=8)
    study = {"mel": torch.randn(100, 24), "frames": torch.tensor(100)}
    axes = Figure().subplots()
    audio.draw_relevance(study, torch.arange(13.0), axes)
    heat = axes.images[1]
    np.testing.assert_allclose(np.asarray(heat.get_array())[0, :, 3] / 0.6, np.arange(13) / 12)
    # Thirteen tokens of eight frames of 20 ms reach beyond the two seconds that are shown.
    assert heat.get_extent() == pytest.approx([0, 2.08, 0, 24])
    assert axes.get_xlim() == pytest.approx((0, 2))
    assert axes.get_xlabel() == "seconds"


def test_another_number_of_tokens_is_refused() -> None:
    study = {"mel": torch.randn(100, 24), "frames": torch.tensor(100)}
    with pytest.raises(ValueError, match="12 tokens, expected 13 for 100 frames with patch 8"):
        Audio(seconds=2.0, mels=24, patch=8).draw_relevance(study, torch.ones(12), Figure().subplots())
