import numpy as np
import pytest
import torch

from polyclinic.modality import Entry
from polyclinic_tabular import Tabular


def fitted(scaling: str) -> Tabular:
    plugin = Tabular(numeric=["a", "never"], categorical={"sex": ["F", "M"]}, units={"a": "g"}, scaling=scaling)
    plugin.fit(plugin.read({"a": str(value)}) for value in range(201))
    return plugin


def test_the_displayed_range_is_the_middle_95_percent_of_training() -> None:
    plugin = fitted("percentile")
    view = plugin.view(plugin.read({"a": "250", "sex": "M"}))
    assert view.entries == (
        Entry(name="a", value=250.0, unit="g", low=5.0, high=195.0),
        Entry(name="never"),
        Entry(name="sex", level="M"),
    )
    assert view.caption == "reference ranges: the middle 95 % of the training split, not those of a laboratory"


def test_the_range_of_standard_scores_is_that_of_a_normal_distribution() -> None:
    plugin = fitted("zscore")
    view = plugin.view(plugin.read({"a": "7"}))
    spread = 1.959963985 * np.arange(201).std()
    np.testing.assert_allclose([view.entries[0].low, view.entries[0].high], [100 - spread, 100 + spread])
    assert view.entries[2] == Entry(name="sex")
    assert "1.96 deviations" in view.caption


def test_values_before_fit_have_no_ranges() -> None:
    plugin = Tabular(numeric=["a"])
    view = plugin.view(plugin.read({"a": "7"}))
    assert view.entries == (Entry(name="a", value=7.0),)
    assert view.caption == "no reference ranges: the scales are not fitted"


def test_relevance_is_one_number_for_each_column() -> None:
    plugin = fitted("percentile")
    raw = plugin.read({"a": "7"})
    item = plugin.prepare(raw)
    assert plugin.locate(raw, item, torch.tensor([1.0, 0.0, 4.0])).strength.tolist() == [0.25, 0.0, 1.0]
    with pytest.raises(ValueError, match="2 tokens, expected one for each of 3 columns"):
        plugin.locate(raw, item, torch.zeros(2))
