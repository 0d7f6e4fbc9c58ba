"""Log-sum-exps of the cube and their gradients against the complete cube, in float64."""

import pytest
import torch
from torch import Tensor

from polyclinic.objectives.cube import cube_logsumexps

N, D = 7, 5


def _inputs(dtype: torch.dtype = torch.float64, scale: float = 1.0, width: int = D) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(N, width, generator=generator, dtype=dtype)).requires_grad_() for _ in range(3)]


def _whole_cube(x: Tensor, y: Tensor, z: Tensor, groups: Tensor | None = None, first: int = 0) -> tuple[Tensor, ...]:
    cube = torch.einsum("id,jd,kd->ijk", x, y, z)
    if groups is not None:
        left_out = torch.zeros_like(cube, dtype=torch.bool)
        for i in range(len(x)):
            for j in range(len(y)):
                for k in range(len(z)):
                    same_group = groups[first + i] == groups[j] == groups[k]
                    left_out[i, j, k] = same_group and not first + i == j == k
        cube = cube.masked_fill(left_out, -torch.inf)
    return cube.logsumexp((1, 2)), cube.logsumexp((0, 2)), cube.logsumexp((0, 1))


@pytest.mark.parametrize("tile", [1, 3, 7, 10, 14, 1000])
@pytest.mark.parametrize("groups", [None, [0, 1, 0, 2, 1, 0, 3]])
def test_values_and_gradients_equal_the_whole_cube(tile: int, groups: list[int] | None) -> None:
    labels = None if groups is None else torch.tensor(groups)
    inputs, copies = _inputs(), _inputs()
    logsumexps = cube_logsumexps(*inputs, tile=tile, groups=labels)
    expected = _whole_cube(*copies, labels)
    weights = torch.arange(1, 3 * N + 1, dtype=torch.float64).split(N)
    for actual, reference in zip(logsumexps, expected, strict=True):
        torch.testing.assert_close(actual, reference, rtol=1e-12, atol=1e-12)
    for sums in (logsumexps, expected):
        sum((weight * value).sum() for weight, value in zip(weights, sums, strict=True)).backward()
    for value, copied in zip(inputs, copies, strict=True):
        torch.testing.assert_close(value.grad, copied.grad, rtol=1e-11, atol=1e-11)


def test_a_slab_sums_over_its_own_rows_only() -> None:
    groups = torch.tensor([0, 1, 0, 2, 1, 0, 3])
    x, y, z = _inputs()
    sums = cube_logsumexps(x[2:5], y, z, tile=4, groups=groups, first=2)
    for actual, reference in zip(sums, _whole_cube(x[2:5], y, z, groups, first=2), strict=True):
        torch.testing.assert_close(actual, reference, rtol=1e-12, atol=1e-12)


def test_a_slab_without_rows_sums_nothing() -> None:
    x, y, z = _inputs()
    over_x, over_y, over_z = cube_logsumexps(x[:0], y, z, tile=4)
    assert len(over_x) == 0
    assert (over_y == -torch.inf).all()
    assert (over_z == -torch.inf).all()


def test_an_axis_that_is_left_out_has_no_gradient() -> None:
    """With one row and a single group, none of the other columns remains."""
    x, y, z = _inputs()
    over_x, over_y, _ = cube_logsumexps(x[:1], y, z, tile=4, groups=torch.zeros(N, dtype=torch.int64))
    assert (over_y[1:] == -torch.inf).all()
    (over_x.sum() + over_y[0]).backward()
    assert all(bool(value.grad.isfinite().all()) for value in (x, y, z))
    torch.testing.assert_close(x.grad[0], 2 * y[0].detach() * z[0].detach())


@pytest.mark.parametrize("scale", [1e-3, 8.0])
def test_single_precision_is_within_a_hundred_thousandth(scale: float) -> None:
    """It holds also where logits reach thousands, as with a large scale."""
    exact, single_precision = _inputs(scale=scale, width=64), [
        value.detach().float().requires_grad_() for value in _inputs(scale=scale, width=64)
    ]  # fmt: skip
    losses = [sum(sums.mean() for sums in cube_logsumexps(*values, tile=11)) for values in (exact, single_precision)]
    torch.testing.assert_close(losses[1].double(), losses[0], rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    for double, single in zip(exact, single_precision, strict=True):
        scale_of = double.grad.abs().max()
        torch.testing.assert_close(single.grad.double() / scale_of, double.grad / scale_of, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    x, y, z = _inputs()
    torch.autograd.gradcheck(lambda *values: cube_logsumexps(*values, tile=5), (x, y, z))
