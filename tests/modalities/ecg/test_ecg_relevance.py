import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from polyclinic_ecg import ECG, ResNet1dEncoder
from polyclinic_ecg.recording import LEADS


def study() -> dict[str, torch.Tensor]:
    signal = torch.randn(12, 200)
    return {"signal": signal, "sample_mask": torch.ones(12, 200).bool(), "lead_mask": torch.ones(12).bool()}


def draw(relevance: torch.Tensor, **settings: str) -> tuple[Axes, np.ndarray]:
    """Draw the relevance and return the axes and the opacity of the bands behind the leads."""
    axes = Figure().subplots()
    ECG(rate=50, seconds=4, patch=20, **settings).draw_relevance(study(), relevance, axes)
    (bands,) = axes.images
    assert bands.get_zorder() < min(line.get_zorder() for line in axes.lines)
    return axes, np.asarray(bands.get_array())[:, :, 3]


@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_tokens_of_all_leads_are_drawn_along_time(stem: str) -> None:
    axes, opacity = draw(torch.arange(10.0), stem=stem)
    assert opacity.shape == (1, 10)
    np.testing.assert_allclose(opacity[0] / opacity.max(), np.arange(10) / 9)
    assert axes.images[0].get_extent()[:2] == [0, 4]
    assert axes.get_xlim()[1] == pytest.approx(4, abs=0.1)
    assert len(axes.lines) == 6
    assert "mV" in axes.get_xlabel()


def test_leads_with_separate_tokens_have_bands_behind_their_lines() -> None:
    relevance = torch.zeros(12, 10)
    relevance[LEADS.index("V2"), 3] = 1.0
    axes, opacity = draw(relevance.flatten(), stem="lead")
    assert [label.get_text() for label in axes.get_yticklabels()] == list(LEADS)
    assert np.argwhere(opacity).tolist() == [[LEADS.index("V2"), 3]]
    left, right, bottom, top = axes.images[0].get_extent()
    height = (top - bottom) / 12
    for row, tick in enumerate(axes.get_yticks()):
        assert top - (row + 0.5) * height == pytest.approx(tick), LEADS[row]
    assert (right - left) / 10 == pytest.approx(0.4)


def test_time_steps_of_another_encoder_divide_the_record_evenly() -> None:
    inputs = {name: value[None] for name, value in study().items()}
    tokens = ResNet1dEncoder(stages=(1, 1), width=8)(inputs).tokens.shape[1]
    assert tokens != 10
    axes, opacity = draw(torch.rand(tokens), stem="lead")
    assert opacity.shape == (1, tokens)
    assert len(axes.lines) == 6


def test_more_tokens_than_samples_are_refused() -> None:
    for count in (0, 201):
        with pytest.raises(ValueError, match=f"relevance of {count} tokens"):
            draw(torch.ones(count))
