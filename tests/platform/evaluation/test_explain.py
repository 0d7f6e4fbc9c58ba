"""Deletion curves against scores of studies whose inputs lack the deleted tokens."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from sklearn.metrics import auc
from torch import Tensor

from one_token_task import ValueTokenizer, planted_encoder
from polyclinic.evaluation.explain import (
    AT_RANDOM,
    LEAST_FIRST,
    MOST_FIRST,
    DeletionCurve,
    deletion_curve,
    deletion_report,
)
from polyclinic.nn import Transformer, TransformerEncoder
from polyclinic.nn.relevance import token_relevance
from polyclinic_ecg import ResNet1dEncoder

SHARES = (0.0, 0.25, 0.5, 0.9)


def case(lengths: Sequence[int]) -> tuple[TransformerEncoder, dict[str, Tensor], Tensor, Callable[[Tensor], Tensor]]:
    torch.manual_seed(0)
    trunk = Transformer(width=6, depth=2, heads=2, dropout=0.3)
    encoder = TransformerEncoder(tokenizer=ValueTokenizer(values=4, width=6), trunk=trunk).double()
    padding = torch.arange(max(lengths))[None] >= torch.tensor(lengths)[:, None]
    values = torch.randn(*padding.shape, 4, dtype=torch.float64)
    relevance = torch.rand(padding.shape, dtype=torch.float64).masked_fill(padding, 0)
    return encoder, {"values": values, "padding": padding}, relevance, lambda pooled: 3 * pooled[:, 1]


def score_of_rest(
    encoder: TransformerEncoder, inputs: dict[str, Tensor], score: Callable, row: int, left: Sequence[int]
) -> float:
    """Score a study whose inputs consist of the remaining tokens only."""
    values = inputs["values"][row, list(left)][None]
    with torch.no_grad():
        pooled = encoder.eval()({"values": values, "padding": torch.zeros(1, len(left), dtype=torch.bool)}).pooled
        return float(score(pooled)[0])


def test_curves_are_scores_of_studies_that_never_had_the_tokens() -> None:
    lengths = [8, 5, 2]
    encoder, inputs, relevance, score = case(lengths)
    curve = deletion_curve(
        encoder.train(), inputs, relevance, score, rng=np.random.default_rng(0), shares=SHARES, draws=2
    )
    assert encoder.training
    assert encoder.trunk.blocks[0].dropout.training
    for row, length in enumerate(lengths):
        rising = sorted(range(length), key=lambda place, row=row: float(relevance[row, place]))
        for column, share in enumerate(SHARES):
            deleted = min(round(share * length), length - 1)
            for order, left in (
                (LEAST_FIRST, rising[deleted:]),
                (MOST_FIRST, rising[: length - deleted]),
            ):
                expected = score_of_rest(encoder, inputs, score, row, left)
                assert curve.scores[order][row, column] == pytest.approx(expected, abs=1e-10)
        complete = score_of_rest(encoder, inputs, score, row, range(length))
        assert curve.scores[AT_RANDOM][row, 0] == pytest.approx(complete, abs=1e-10)


def test_random_orders_take_every_token_and_are_averaged() -> None:
    encoder, inputs, relevance, score = case([3])
    without = [score_of_rest(encoder, inputs, score, 0, [p for p in range(3) if p != gone]) for gone in range(3)]
    taken = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        curve = deletion_curve(encoder, inputs, relevance, score, rng=rng, shares=(0.0, 0.34), draws=1)
        distance = np.abs(np.array(without) - curve.scores[AT_RANDOM][0, 1])
        assert distance.min() < 1e-10
        taken.append(int(distance.argmin()))
    assert set(taken) == {0, 1, 2}
    averaged = deletion_curve(
        encoder, inputs, relevance, score, rng=np.random.default_rng(0), shares=(0.0, 0.34), draws=300
    )
    spread = np.std(without) / np.sqrt(300)
    assert averaged.scores[AT_RANDOM][0, 1] == pytest.approx(np.mean(without), abs=4 * spread)


def test_ties_are_broken_anew_so_that_no_place_is_favoured() -> None:
    encoder, inputs, relevance, score = case([6])
    shares = (0.0, 1 / 6)
    without = [score_of_rest(encoder, inputs, score, 0, [p for p in range(6) if p != gone]) for gone in range(6)]
    for order in (MOST_FIRST, LEAST_FIRST):
        taken = set()
        for seed in range(60):
            curve = deletion_curve(
                encoder,
                inputs,
                torch.zeros_like(relevance),
                score,
                rng=np.random.default_rng(seed),
                shares=shares,
                draws=1,
            )
            taken.add(int(np.abs(np.array(without) - curve.scores[order][0, 1]).argmin()))
        assert taken == set(range(6)), order


def test_padding_is_neither_counted_nor_deleted_whatever_its_relevance() -> None:
    encoder, inputs, relevance, score = case([8, 4])
    high_padding = relevance.masked_fill(inputs["padding"], 99.0)
    curve = deletion_curve(encoder, inputs, high_padding, score, rng=np.random.default_rng(0), shares=SHARES)
    alone = {name: value[1:, :4] for name, value in inputs.items()}
    single = deletion_curve(encoder, alone, relevance[1:, :4], score, rng=np.random.default_rng(1), shares=SHARES)
    for order in (MOST_FIRST, LEAST_FIRST):
        np.testing.assert_allclose(curve.scores[order][1], single.scores[order][0], atol=1e-10)


def test_a_report_averages_curves_and_areas() -> None:
    batches = [case([8, 5, 1]), case([6, 6])]
    curves = [
        deletion_curve(*batch, rng=np.random.default_rng(number), shares=SHARES) for number, batch in enumerate(batches)
    ]
    report = deletion_report(curves, ["a", "b", "b", "c", "d"], resamples=400, seed=0)
    assert (report.studies, report.undefined) == (4, 1)
    defined = [(curve, row) for curve in curves for row in range(len(curve.scores[MOST_FIRST]))]
    del defined[2]
    area = {order: [auc(SHARES, curve.scores[order][row]) for curve, row in defined] for order in report.areas}
    for order, areas in area.items():
        assert report.areas[order] == pytest.approx(np.mean(areas), abs=1e-12)
        expected = [np.mean([curve.scores[order][row, column] for curve, row in defined]) for column in range(4)]
        np.testing.assert_allclose(report.curves[order], expected, atol=1e-12)
    gains = np.subtract(area[AT_RANDOM], area[MOST_FIRST])
    assert report.advantage == pytest.approx(gains.mean(), abs=1e-12)
    assert gains.min() <= report.advantage_ci95.low < report.advantage < report.advantage_ci95.high <= gains.max()


def test_studies_without_two_tokens_are_undefined_never_zero() -> None:
    encoder, inputs, relevance, score = case([1, 3])
    inputs["padding"][1] = True
    curve = deletion_curve(encoder, inputs, relevance, score, rng=np.random.default_rng(0))
    report = deletion_report([curve], ["a", "b"], resamples=5, seed=0)
    assert np.isnan(list(curve.scores.values())).all()
    assert np.isnan([report.advantage, *report.areas.values(), report.advantage_ci95.low]).all()
    assert np.isnan(list(report.curves.values())).all()
    assert (report.studies, report.undefined, report.advantage_ci95.undefined) == (0, 2, 5)


def test_true_relevance_has_an_advantage_and_a_random_one_has_none() -> None:
    encoder, score, inputs, places = planted_encoder()
    ill = {name: value[places >= 0] for name, value in inputs.items()}
    patients = [str(study) for study in range(len(ill["values"]))]
    guess = torch.rand(ill["padding"].shape, generator=torch.Generator().manual_seed(0))
    reports = [
        deletion_report(
            [deletion_curve(encoder, ill, relevance, score, rng=np.random.default_rng(0), draws=20)],
            patients,
            resamples=400,
            seed=0,
        )
        for relevance in (token_relevance(encoder, ill, score), guess)
    ]
    true, none = reports
    assert true.advantage_ci95.low > 1.0
    assert none.advantage_ci95.low < 0 < none.advantage_ci95.high
    assert true.areas[MOST_FIRST] < true.areas[AT_RANDOM] < true.areas[LEAST_FIRST]


def test_refuses_an_encoder_that_needs_all_tokens() -> None:
    signal = {"signal": torch.zeros(1, 12, 64), "sample_mask": torch.ones(1, 12, 64, dtype=torch.bool)}
    with pytest.raises(ValueError, match="ResNet1dEncoder, which cannot leave tokens out"):
        deletion_curve(
            ResNet1dEncoder(stages=(1,), width=8),
            signal,
            torch.ones(1, 32),
            lambda pooled: pooled[:, 0],
            rng=np.random.default_rng(0),
        )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shares": (0.0, 1.0)}, "set `shares`"),
        ({"shares": (0.5, 0.2)}, "set `shares`"),
        ({"shares": (-0.1, 0.2)}, "set `shares`"),
        ({"shares": (0.3,)}, "set `shares`"),
        ({"shares": (0.0, float("nan"))}, "set `shares`"),
        ({"draws": 0}, "got 0 draws"),
        ({"relevance": torch.ones(1, 3)}, r"shape \(1, 3\), expected \(1, 4\)"),
        ({"relevance": torch.full((1, 4), torch.nan)}, "4 tokens whose relevance is not finite"),
        ({"score": lambda pooled: pooled}, "one number for each"),
    ],
)
def test_errors_name_the_setting_to_change(wrong: dict, message: str) -> None:
    encoder, inputs, relevance, score = case([4])
    settings = {"relevance": relevance, "score": score, "rng": np.random.default_rng(0), **wrong}
    with pytest.raises(ValueError, match=message):
        deletion_curve(encoder, inputs, **settings)


def test_reports_refuse_what_does_not_fit_together() -> None:
    scores = {order: np.zeros((2, 2)) for order in (MOST_FIRST, AT_RANDOM, LEAST_FIRST)}
    half, more = (DeletionCurve(shares=shares, scores=scores) for shares in ((0.0, 0.5), (0.0, 0.6)))
    with pytest.raises(ValueError, match="0 curves"):
        deletion_report([], [], resamples=5, seed=0)
    with pytest.raises(ValueError, match="2 sets of shares"):
        deletion_report([half, more], ["a"] * 4, resamples=5, seed=0)
    with pytest.raises(ValueError, match="3 patients for 2 studies"):
        deletion_report([half], ["a"] * 3, resamples=5, seed=0)
