"""Losses of findings, classes, levels and quantities against loops over their formulas, in float64."""

import math
from itertools import pairwise

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
