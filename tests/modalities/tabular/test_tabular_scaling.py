import json

import numpy as np
import pytest
from scipy.stats import percentileofscore, zscore

from polyclinic_tabular import Tabular
from polyclinic_tabular.row import Row

RNG = np.random.default_rng(0)


def _row(*values: float) -> Row:
    return Row(np.array(values, dtype=float), np.zeros(0, dtype=np.int64), {})


def _fitted(columns: np.ndarray, **settings: str) -> Tabular:
    tabular = Tabular(numeric=[f"c{k}" for k in range(columns.shape[1])], **settings)
    tabular.fit(_row(*values) for values in columns)
    return tabular


def test_percentiles_equal_those_of_scipy() -> None:
    observed = RNG.lognormal(size=(1001, 1))
    tabular = _fitted(observed)
    for value in [*observed[:40, 0], -1.0, 1e6]:
        expected = percentileofscore(observed[:, 0], value, kind="mean") / 100
        assert float(tabular.prepare(_row(value))["values"][0]) == pytest.approx(expected, abs=0.006)


def test_tied_values_get_the_middle_of_their_ranks() -> None:
    observed = np.repeat([1.0, 2.0, 3.0], [300, 600, 100])[:, None]
    tabular = _fitted(observed)
    for value, expected in ((0.5, 0.0), (1.0, 0.15), (2.0, 0.6), (3.0, 0.95), (4.0, 1.0)):
        assert float(tabular.prepare(_row(value))["values"][0]) == pytest.approx(expected, abs=0.01)


def test_zscores_equal_those_of_scipy_without_missing_values() -> None:
    observed = RNG.normal(5, 3, size=(50, 1))
    holed = np.concatenate([observed, np.full((10, 1), np.nan)])
    tabular = _fitted(holed, scaling="zscore")
    scores = [float(tabular.prepare(_row(value))["values"][0]) for value in observed[:, 0]]
    np.testing.assert_allclose(scores, zscore(observed[:, 0]), rtol=1e-5)


@pytest.mark.parametrize(("scaling", "neutral"), [("percentile", 0.5), ("zscore", 0.0)])
def test_a_column_never_observed_in_training_is_neutral(scaling: str, neutral: float) -> None:
    columns = np.stack([np.full(20, np.nan), np.arange(20.0), np.full(20, 7.0)], axis=1)
    tabular = _fitted(columns, scaling=scaling)
    item = tabular.prepare(_row(3.0, np.nan, 7.0))
    assert item["values"].tolist() == [neutral, 0.0, neutral]
    assert item["observed"].tolist() == [False, False, True]


def test_fit_does_not_depend_on_later_reads() -> None:
    tabular = Tabular(numeric=["a"])
    tabular.fit(tabular.read({"a": text}) for text in ("1", "2", "3"))
    state = json.dumps(tabular.state())
    for text in ("100", "200"):
        tabular.prepare(tabular.read({"a": text}))
    assert json.dumps(tabular.state()) == state
    assert max(tabular.state()["scales"][0]) == 3.0


def test_unfitted_empty_and_foreign_states_are_refused() -> None:
    tabular = Tabular(numeric=["a"])
    with pytest.raises(ValueError, match="`fit`"):
        tabular.prepare(_row(1.0))
    with pytest.raises(ValueError, match="training split"):
        tabular.fit([])
    with pytest.raises(ValueError, match="`numeric`"):
        tabular.load_state(_fitted(np.ones((3, 2))).state())
    with pytest.raises(ValueError, match="`scaling`"):
        tabular.load_state({**_fitted(np.ones((3, 1)), scaling="zscore").state(), "numeric": ["a"]})


def test_augmentation_hides_its_share_of_values_and_stays_in_range() -> None:
    tabular = Tabular(numeric=[f"c{k}" for k in range(400)], categorical={"s": ["x"]}, drop=0.2, noise=0.1)
    tabular.fit([_row(*RNG.normal(size=400)) for _ in range(20)])
    item = tabular.prepare(Row(RNG.normal(size=400), np.array([1]), {}))
    varied = tabular.augment(item, np.random.default_rng(1))
    assert (~varied["observed"]).float().mean() == pytest.approx(0.2, abs=0.06)
    assert not varied["values"][~varied["observed"]].any()
    assert 0 <= float(varied["values"].min()) <= float(varied["values"].max()) <= 1
    noise = (varied["values"] - item["values"])[varied["observed"]]
    assert 0 < float(noise.abs().mean()) < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"numeric": []}, "`numeric`"),
        ({"numeric": ["a", "a"]}, "distinct"),
        ({"numeric": ["a"], "units": {"b": "g"}}, "`units`"),
        ({"numeric": ["a"], "plausible": {"a": (3.0, 1.0)}}, "lowest"),
    ],
)
def test_invalid_settings_are_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tabular(**settings)
