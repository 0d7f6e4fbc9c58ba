"""Losses of findings, classes, levels and quantities against loops over their formulas, in float64."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from polyclinic.data import Target
from polyclinic.nn.targets import Targets

TARGETS = (
    Target(name="edema"),
    Target(name="view", kind="class", names=("AP", "PA", "LL")),
    Target(name="grade", kind="level", names=("none", "mild", "moderate", "severe")),
    Target(name="fraction", kind="quantity", unit="%", center=55.0, scale=10.0),
    Target(name="effusion"),
)
LABELS = torch.tensor(
    [[1.0, 2.0, 0.0, 60.0, 0.0], [0.0, 0.0, 3.0, 35.0, 0.3], [math.nan, 1.0, 2.0, math.nan, 1.0]], dtype=torch.float64
)


def _targets() -> Targets:
    targets = Targets(TARGETS).double()
    with torch.no_grad():
        targets.steps["2"].copy_(torch.tensor([1.2, 0.3, -0.5]))
    return targets


def _thresholds(steps: Tensor) -> list[Tensor]:
    values = [steps[0]]
    for step in steps[1:]:
        values.append(values[0] - sum(torch.log1p(torch.exp(step)) for step in steps[1 : 1 + len(values)]))
        assert step is not None
    return values


def _reference(targets: Targets, outputs: Tensor, labels: Tensor) -> Tensor:
    terms = []
    for row, truth in zip(outputs, labels.tolist(), strict=True):
        for place, score in ((0, row[0]), (4, row[6])):
            if not math.isnan(truth[place]):
                p = 1 / (1 + torch.exp(-score))
                terms.append(-(truth[place] * torch.log(p) + (1 - truth[place]) * torch.log(1 - p)))
        terms.append(torch.logsumexp(row[1:4], 0) - row[1:4][int(truth[1])])
        cuts = [1 / (1 + torch.exp(-(row[4] + cut))) for cut in _thresholds(targets.steps["2"])]
        terms.append(-sum(torch.log(p) if truth[2] > k else torch.log(1 - p) for k, p in enumerate(cuts)))
        if not math.isnan(truth[3]):
            terms.append((row[5] - (truth[3] - 55.0) / 10.0) ** 2)
    return torch.stack(terms).mean()


def test_loss_and_gradients_equal_the_formulas() -> None:
    targets = _targets()
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(3, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = targets.loss(outputs, LABELS)
    assert loss.terms == 13
    gradients = torch.autograd.grad(loss.total / loss.terms, [outputs, targets.steps["2"]])
    expected = _reference(targets, outputs, LABELS)
    torch.testing.assert_close(loss.total / loss.terms, expected)
    for gradient, expected_gradient in zip(
        gradients, torch.autograd.grad(expected, [outputs, targets.steps["2"]]), strict=True
    ):
        torch.testing.assert_close(gradient, expected_gradient)


def test_a_balanced_loss_of_the_best_constant_prediction_is_one_for_every_label() -> None:
    """Rare findings, classes, levels and quantities then weigh alike."""
    labels = _drawn_labels(400)
    targets = Targets(TARGETS).double()
    targets.balance(labels.numpy())
    outputs, steps = _best_constants(labels)
    with torch.no_grad():
        targets.steps["2"].copy_(steps)
    for column in range(len(TARGETS)):
        alone = torch.full_like(labels, math.nan)
        alone[:, column] = labels[:, column]
        loss = targets.loss(outputs.expand(len(labels), -1), alone)
        assert float((loss.total / loss.terms).detach()) == pytest.approx(1.0, abs=1e-6)


def test_a_label_that_almost_no_study_has_weighs_as_if_one_in_a_hundred_had() -> None:
    targets = Targets([Target(name="rare"), Target(name="never"), Target(name="common")])
    labels = np.zeros((1000, 3))
    labels[0, 0] = 1
    labels[::2, 2] = 1
    targets.balance(labels)
    entropy = -(0.01 * math.log(0.01) + 0.99 * math.log(0.99))
    assert targets.constant_loss.tolist() == pytest.approx([entropy, entropy, math.log(2)], rel=1e-6)
    assert "constant_loss" not in targets.state_dict()  # so that older checkpoints load


def _drawn_labels(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    rare = (torch.rand(count, generator=generator) < 0.08).double()
    view = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), count, replacement=True, generator=generator).double()
    grade = torch.multinomial(torch.tensor([0.4, 0.3, 0.2, 0.1]), count, replacement=True, generator=generator).double()
    fraction = torch.randn(count, generator=generator, dtype=torch.float64)
    fraction = 55 + 10 * (fraction - fraction.mean()) / fraction.std(correction=0)
    soft = torch.where(torch.rand(count, generator=generator) < 0.2, 0.5, 1 - rare)
    soft[::3] = math.nan
    return torch.stack([rare, view, grade, fraction, soft], dim=1)


def _best_constants(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs, and the steps of the thresholds, of the constant prediction with the smallest loss."""
    rare, soft = labels[:, 0].mean(), labels[:, 4].nanmean()
    shares = torch.stack([(labels[:, 1] == name).double().mean() for name in range(3)])
    above = torch.logit(torch.stack([(labels[:, 2] > level).double().mean() for level in range(3)]))
    steps = torch.cat([above[:1], torch.log(torch.expm1(-above.diff()))])
    constants = [torch.logit(rare)[None], shares.log(), torch.zeros(2).double(), torch.logit(soft)[None]]
    return torch.cat(constants), steps


def test_unknown_labels_give_a_graph_and_no_gradient() -> None:
    targets = _targets()
    outputs = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    loss = targets.loss(outputs, torch.full((2, 5), math.nan, dtype=torch.float64))
    loss.total.backward()
    assert loss == (0, 0)
    assert (outputs.grad == 0).all()


def test_predictions_are_log_odds_expected_levels_and_units() -> None:
    targets = _targets()
    outputs = torch.randn(4, 7, dtype=torch.float64)
    predictions = targets.predictions(outputs)
    assert targets.columns == ["edema", "view=AP", "view=PA", "view=LL", "grade", "fraction", "effusion"]
    torch.testing.assert_close(predictions[:, [0, 6]], outputs[:, [0, 6]])
    shares = outputs[:, 1:4].softmax(dim=1)
    torch.testing.assert_close(predictions[:, 1:4], torch.log(shares / (1 - shares)))
    torch.testing.assert_close(predictions[:, 5], outputs[:, 5] * 10 + 55)
    above = [torch.sigmoid(outputs[:, 4] + cut) for cut in _thresholds(targets.steps["2"])]
    torch.testing.assert_close(predictions[:, 4], sum(above))
    assert all((low <= high).all() for high, low in pairwise(above))
    assert targets.findings == [0, 4]
    assert targets.finding_outputs == [0, 6]


def test_a_task_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got no label to learn; set `labels`"):
        Targets(())
    with pytest.raises(ValueError, match=r"'age' has one value in training, expected at least two"):
        Targets([Target(name="age", kind="quantity", scale=0.0)])
