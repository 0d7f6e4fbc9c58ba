"""Random convolution kernels, compared with loops over samples."""

import numpy as np
import pytest
import torch

from polyclinic.nn import RandomKernels


def _reference(signal: np.ndarray, weight: np.ndarray, dilation: int) -> np.ndarray:
    """Return the convolution of one signal with one kernel, sample by sample, with zeros beyond the ends."""
    channels, length = signal.shape
    output = np.zeros(length)
    for time in range(length):
        for tap in range(9):
            at = time + (tap - 4) * dilation
            if 0 <= at < length:
                output[time] += sum(weight[channel, tap] * signal[channel, at] for channel in range(channels))
    return output


def test_features_are_shares_of_samples_above_quantiles() -> None:
    signals = torch.randn(4, 3, 40, generator=torch.Generator().manual_seed(0))
    kernels = RandomKernels(channels=3, length=40, dilations=3, biases=2, seed=1).fit(signals)
    features = kernels(signals).numpy()
    assert features.shape == (4, kernels.outputs)
    assert kernels.dilations == [1, 2, 4]
    for place, dilation in enumerate(kernels.dilations):
        for kernel in (0, 40, 83):
            weight = kernels.weights[place, kernel].numpy().astype(float)
            outputs = [_reference(signal, weight, dilation) for signal in signals.numpy().astype(float)]
            for bias in range(2):
                limit = float(kernels.biases[place, kernel, bias])
                expected = [(output > limit).mean() for output in outputs]
                column = (place * 2 + bias) * 84 + kernel
                # A sample at the bias itself may fall on either side by rounding.
                np.testing.assert_allclose(features[:, column], expected, atol=1 / 40 + 1e-6)
                wanted = ((kernel * 2 + bias + 1) * (5**0.5 + 1) / 2) % 1
                assert limit == pytest.approx(np.quantile(np.concatenate(outputs), wanted), rel=1e-3, abs=1e-3)


def test_each_kernel_has_three_raised_weights_on_a_few_channels() -> None:
    weights = RandomKernels(channels=12, length=1000, dilations=4, biases=1).weights.numpy()
    used = np.abs(weights).sum(axis=3) > 0
    assert set(np.unique(weights)) == {-1.0, 0.0, 2.0}
    assert ((weights == 2).sum(axis=3)[used] == 3).all()
    assert (used.sum(axis=2) >= 1).all()
    assert used.sum(axis=2).max() <= 9
    assert len(np.unique(weights[0].max(axis=1), axis=0)) == 84


def test_a_study_has_the_same_features_in_any_batch_and_any_process() -> None:
    signals = torch.randn(130, 2, 60, generator=torch.Generator().manual_seed(2))
    first, second = (RandomKernels(channels=2, length=60).fit(signals) for _ in range(2))
    assert torch.equal(first(signals), second(signals))
    torch.testing.assert_close(first(signals[100:101]), first(signals)[100:101])


def test_a_signal_shorter_than_a_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="got signals of 8 samples, expected at least 9"):
        RandomKernels(channels=1, length=8)
