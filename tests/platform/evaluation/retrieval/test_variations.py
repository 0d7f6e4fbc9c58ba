"""Spread of ranks over variations of a query, against a loop over studies."""

import numpy as np
import pytest
import torch

from polyclinic.evaluation.metrics.intervals import patient_resamples
from polyclinic.evaluation.retrieval.variations import rank_spread

IDS = [f"p{row // 2}" for row in range(12)]


def test_spread_is_the_deviation_of_each_rank_averaged_over_studies() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 12, 12))
    varied = np.arange(12) != 5
    spread = rank_spread("text", list(scores), IDS, torch.tensor(varied), resamples=200, seed=1)
    deviations = np.full(12, np.nan)
    for query in np.flatnonzero(varied):
        ranks = []
        for matrix in scores:
            others = [column for column in range(12) if IDS[column] != IDS[query]]
            ranks.append(1 + sum(matrix[query, column] > matrix[query, query] for column in others))
        mean = sum(ranks) / 4
        deviations[query] = (sum((rank - mean) ** 2 for rank in ranks) / 3) ** 0.5
    assert (spread.modality, spread.texts, spread.studies) == ("text", 4, 11)
    assert spread.rank == pytest.approx(np.nanmean(deviations), abs=1e-12)
    # With ten studies of other patients, rank 1 is normalised to 0 and rank 11 to 1.
    assert spread.normalised == pytest.approx(np.nanmean(deviations) / 10, abs=1e-12)
    draws = [np.nansum(weights * deviations) / weights[varied].sum() for weights in patient_resamples(IDS, 200, 1)]
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (spread.rank_ci95.low, spread.rank_ci95.high) == pytest.approx((low, high), abs=1e-12)
    assert spread.normalised_ci95.high == pytest.approx(high / 10, abs=1e-12)


def test_variations_that_change_nothing_have_no_spread() -> None:
    same = np.random.default_rng(0).normal(size=(12, 12))
    spread = rank_spread("text", [same, same * 2 + 1], IDS, np.ones(12, dtype=bool), resamples=10, seed=0)
    assert (spread.rank, spread.rank_ci95, spread.normalised) == (0.0, (0.0, 0.0, 0), 0.0)


def test_undefined_where_there_is_nothing_to_rank_or_to_vary() -> None:
    one_patient = rank_spread("text", [np.eye(3)] * 2, ["p"] * 3, np.ones(3, dtype=bool), resamples=5, seed=0)
    assert np.isnan(one_patient.normalised)
    assert one_patient.normalised_ci95.undefined == 5
    assert one_patient.rank == 0.0
    nobody = rank_spread("text", [np.eye(12)] * 2, IDS, np.zeros(12, dtype=bool), resamples=5, seed=0)
    assert np.isnan([nobody.rank, nobody.normalised]).all()
    assert (nobody.studies, nobody.rank_ci95.undefined) == (0, 5)


def test_one_variation_has_no_deviation() -> None:
    with pytest.raises(ValueError, match="got 1 variations of a query, expected at least 2; set `texts`"):
        rank_spread("text", [np.eye(12)], IDS, np.ones(12, dtype=bool), resamples=5, seed=0)
