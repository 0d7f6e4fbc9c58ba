"""The share of the network in its average with the linear model, chosen by the one-standard-error rule."""

import numpy as np
import pytest
import torch
from torch import Tensor

from polyclinic.data import Target
from polyclinic.nn import LinearPath
from polyclinic.nn.targets import Targets
from polyclinic.tasks.averaging import choose_share

SHARES = np.linspace(0, 1, 11)


def _chosen(network: Tensor, linear: Tensor, labels: Tensor) -> float:
    path = LinearPath({}, network.shape[1])
    path.fitted.fill_(True)
    targets = Targets([Target(name=f"f{column}") for column in range(labels.shape[1])])
    choose_share(path, targets, network, linear, labels)
    return float(path.share)


def _expected(network: Tensor, linear: Tensor, labels: Tensor) -> float:
    """Apply the rule study by study in NumPy."""
    losses = []
    for share in SHARES:
        logits = (share * network + (1 - share) * linear).double().numpy()
        truth = labels.double().numpy()
        loss = np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - logits * truth
        losses.append(np.nansum(loss, axis=1))
    best = min(losses, key=np.sum)
    for share, loss in zip(SHARES, losses, strict=True):
        excess = loss - best
        if excess.mean() <= np.std(excess, ddof=1) / np.sqrt(len(excess)):
            return float(share)
    raise AssertionError


def _studies(seed: int, number: int, *, network: float, linear: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw two findings, and the log-odds of models that see them with noise of these sizes."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(number, 2, generator=generator) < 0.4).float()
    signal = 2 * labels - 1
    outputs = [signal + size * torch.randn(number, 2, generator=generator) for size in (network, linear)]
    labels[torch.rand(number, 2, generator=generator) < 0.2] = torch.nan
    return outputs[0], outputs[1], labels


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("number", [3, 24, 300])
def test_the_share_is_the_smallest_within_one_standard_error(seed: int, number: int) -> None:
    drawn = _studies(seed, number, network=1.0, linear=1.2)
    assert _chosen(*drawn) == pytest.approx(_expected(*drawn))


def test_a_network_that_is_better_beyond_chance_gets_most_of_the_average() -> None:
    assert _chosen(*_studies(0, 2000, network=0.3, linear=3.0)) >= 0.7


def test_a_network_that_is_equally_good_by_chance_gets_little() -> None:
    shares = [_chosen(*_studies(seed, 24, network=1.0, linear=1.0)) for seed in range(20)]
    best = []
    for seed in range(20):
        network, linear, labels = _studies(seed, 24, network=1.0, linear=1.0)
        losses = [
            torch.nansum(torch.nn.functional.softplus((1 - 2 * labels) * (s * network + (1 - s) * linear)))
            for s in SHARES
        ]
        best.append(float(SHARES[int(torch.stack(losses).argmin())]))
    assert np.mean(shares) < np.mean(best) - 0.1


def test_one_study_has_no_standard_error() -> None:
    network, linear, labels = torch.tensor([[2.0]]), torch.tensor([[-1.0]]), torch.tensor([[1.0]])
    assert _chosen(network, linear, labels) == 1.0


def test_a_path_that_was_not_fitted_leaves_the_share_alone() -> None:
    path = LinearPath({}, 1)
    path.share.fill_(0.4)
    choose_share(path, Targets([Target(name="f")]), torch.ones(3, 1), torch.zeros(3, 1), torch.ones(3, 1))
    assert float(path.share) == pytest.approx(0.4)
