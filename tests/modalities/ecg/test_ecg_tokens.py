"""Both stems of the ECG give one token per patch and refuse patches that they cannot build."""

import pytest
import torch

from polyclinic_ecg import ECG


def _inputs(studies: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(studies, 12, 1000, dtype=torch.bool)
    mask[:, :, 800:] = False
    signal = torch.randn(studies, 12, 1000, generator=generator) * mask
    return {"signal": signal, "sample_mask": mask, "lead_mask": mask.any(dim=2)}


@pytest.mark.parametrize("patch", [20, 50, 100, 125])
def test_stems_give_the_same_grid_of_tokens(patch: int) -> None:
    for stem in ("linear", "conv"):
        encoded = ECG(patch=patch, stem=stem).default_encoder("nano")(_inputs(2))
        assert encoded.tokens.shape == (2, 1000 // patch, 64)
        assert encoded.padding.sum(dim=1).tolist() == [200 // patch] * 2


def test_a_stem_that_cannot_be_built_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="product of 2, 3, 5 and 7; set `patch`"):
        ECG(seconds=11.0, patch=11, stem="conv").default_encoder("nano")
