import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from polyclinic_tabular import Tabular


def fitted() -> Tabular:
    table = Tabular(numeric=["sodium", "crp"], categorical={"sex": ["F", "M"]}, units={"sodium": "mmol/L"})
    table.fit([table.read({"sodium": str(value), "crp": "5"}) for value in (130, 140, 150)])
    return table


def test_columns_are_drawn_by_relevance_with_their_values() -> None:
    table, axes = fitted(), Figure().subplots()
    study = table.prepare(table.read({"sodium": "140", "sex": "M"}))
    table.draw_relevance(study, torch.tensor([1.0, 4.0, 2.0]), axes)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["crp: missing", "sex: M", "sodium: 140 mmol/L"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [1.0, 0.5, 0.25])
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first column is on top"


def test_the_most_relevant_of_many_columns_are_shown() -> None:
    names = [f"c{number}" for number in range(50)]
    table, axes = Tabular(numeric=names), Figure().subplots()
    table.fit([table.read(dict.fromkeys(names, "1"))])
    study = table.prepare(table.read(dict.fromkeys(names, "1")))
    table.draw_relevance(study, torch.arange(50.0), axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"c{number}: 1" for number in range(49, 29, -1)]


def test_a_single_token_for_all_columns_is_refused() -> None:
    table = fitted()
    study = table.prepare(table.read({"sodium": "140"}))
    with pytest.raises(ValueError, match="1 tokens, expected one for each of 3 columns"):
        table.draw_relevance(study, torch.ones(1), Figure().subplots())
