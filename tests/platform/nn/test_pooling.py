"""Pooling against loops over the real tokens."""

import numpy as np
import torch

from polyclinic.nn import StatisticsPooling, masked_mean


def _draw_tokens() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4, 7, 5, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([7, 3, 1, 0])
    return tokens, torch.arange(7)[None] >= lengths[:, None]


def _reference(tokens: np.ndarray, padding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means, deviations = [], []
    for row, absent in zip(tokens, padding, strict=True):
        real = row[~absent]
        means.append(real.mean(axis=0) if len(real) else np.zeros(row.shape[1]))
        variance = real.var(axis=0) if len(real) else np.zeros(row.shape[1])
        deviations.append(np.sqrt(variance + 1e-4))
    return np.stack(means), np.stack(deviations)


def test_mean_and_deviation_are_over_real_tokens() -> None:
    tokens, padding = _draw_tokens()
    mean, deviation = _reference(tokens.numpy(), padding.numpy())
    np.testing.assert_allclose(masked_mean(tokens, padding), mean, atol=1e-12)
    pool = StatisticsPooling(5).double()
    expected = np.concatenate([mean, deviation], axis=1) @ pool.mix.weight.detach().numpy().T
    np.testing.assert_allclose(pool(tokens, padding).detach(), expected + pool.mix.bias.detach().numpy(), atol=1e-12)


def test_padding_changes_nothing_and_gradients_of_identical_tokens_are_finite() -> None:
    tokens, padding = _draw_tokens()
    pool = StatisticsPooling(5).double()
    noisy = tokens.masked_fill(padding[:, :, None], 1e6)
    torch.testing.assert_close(pool(noisy, padding), pool(tokens, padding))
    identical = torch.ones(2, 3, 5, dtype=torch.float64, requires_grad=True)
    pool(identical, torch.zeros(2, 3, dtype=torch.bool)).sum().backward()
    assert torch.isfinite(identical.grad).all()
    assert torch.autograd.gradcheck(lambda x: pool(x, padding), tokens.clone().requires_grad_())
