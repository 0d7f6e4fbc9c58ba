"""Masks against loops over studies, and visible tokens against the whole sequence."""

import numpy as np
import pytest
import torch

from polyclinic.nn import Transformer, hide_units, keep_by_budget, keep_by_ratio
from polyclinic.nn.masked.masking import places_of

UNITS = torch.tensor([[0, 0, 1, 1, 2, 3, -1, -1], [0, 1, 2, 3, 4, 5, 6, 7], [-1] * 8, [-1, 0, 0, 0, 1, 1, 2, 2]])


def _hide_in_order(units: list[int], keep: int, noise: list[float]) -> list[bool]:
    """Take whole units in order of their noise as long as they fit."""
    order = sorted({unit for unit in units if unit >= 0}, key=lambda unit: (noise[unit], units.index(unit)))
    visible: set[int] = set()
    used = 0
    for unit in order:
        used += units.count(unit)
        if used > keep:
            break
        visible.add(unit)
    return [unit >= 0 and unit not in visible for unit in units]


@pytest.mark.parametrize("keep", [0, 1, 3, 5, 8])
def test_units_are_hidden_until_at_most_the_requested_number_of_tokens_is_visible(keep: int) -> None:
    noise = torch.rand(UNITS.shape, generator=torch.Generator().manual_seed(keep))
    hidden = hide_units(UNITS, torch.full((len(UNITS),), keep), noise)
    expected = [_hide_in_order(units, keep, row) for units, row in zip(UNITS.tolist(), noise.tolist(), strict=True)]
    assert hidden.tolist() == expected
    assert (((UNITS >= 0) & ~hidden).sum(dim=1) <= keep).all()


def test_ratios_keep_their_share_visible_and_hide_at_least_one_token() -> None:
    counts = np.array([[100, 16, 0], [1, 3, 2]])
    visible = keep_by_ratio(counts, [0.75, 0.75, 0.1])
    assert visible.tolist() == [[25, 4, 0], [0, 1, 1]]


def test_a_budget_is_used_up_within_the_tokens_available() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 40, size=(400, 4)) * rng.integers(0, 2, size=(400, 4))
    rngs = [np.random.default_rng(index) for index in range(400)]
    visible = keep_by_budget(counts, [0.75, 0.5, 0.15, 0.5], budget=24, concentration=1.0, rngs=rngs)
    assert (visible >= 0).all()
    assert (visible <= counts).all()
    np.testing.assert_array_equal(visible.sum(axis=1), np.minimum(24, np.maximum(counts.sum(axis=1) - 1, 0)))
    rich = (counts >= 24).all(axis=1)
    assert ((visible[rich] == 0).any(axis=1)).any()


def test_draws_have_the_shares_of_the_ratios_as_their_mean() -> None:
    counts, ratios = np.full((3000, 3), 100), [0.75, 0.5, 0.25]
    for concentration, spread in ((1.0, 0.15), (100.0, 0.02)):
        rngs = [np.random.default_rng([7, index]) for index in range(3000)]
        visible = keep_by_budget(counts, ratios, budget=60, concentration=concentration, rngs=rngs)
        np.testing.assert_allclose(visible.mean(axis=0) / 60, [1 / 6, 2 / 6, 3 / 6], atol=0.02)
        assert visible.std(axis=0).min() / 60 > spread / 2
    assert visible.std(axis=0).max() / 60 < 0.05


def test_visible_tokens_are_encoded_as_if_no_others_existed() -> None:
    torch.manual_seed(0)
    trunk = Transformer(width=16, depth=2, heads=2, neighbours=3).eval()
    x = torch.randn(3, 9, 16)
    absent = torch.rand(3, 9, generator=torch.Generator().manual_seed(1)) > 0.4
    absent[2] = True
    absent[2, 4] = False
    visible = trunk.visible(x, absent)
    assert visible.tokens.shape[1] == int((~absent).sum(dim=1).max()) < 9
    encoded = trunk(x, absent)
    for row in range(3):
        real = ~visible.padding[row]
        places = visible.places[row][real]
        assert places.tolist() == (~absent[row]).nonzero()[:, 0].tolist()
        torch.testing.assert_close(visible.tokens[row][real], encoded[row][places], rtol=1e-5, atol=1e-5)
        assert (visible.places[row][~real] == -1).all()


def test_a_study_without_tokens_has_one_padding_position() -> None:
    places, padding = places_of(torch.zeros(2, 5, dtype=torch.bool))
    assert places.shape == (2, 1)
    assert padding.all()
