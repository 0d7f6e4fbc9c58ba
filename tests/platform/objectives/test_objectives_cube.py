"""The cube's log-sum-exps and their gradients against the whole cube, in float64."""

import pytest
import torch
from torch import Tensor

from polyclinic.objectives.cube import cube_logsumexps

N, D = 7, 5


def _inputs(dtype: torch.dtype = torch.float64, scale: float = 1.0, width: int = D) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(scale * torch.randn(N, width, generator=generator, dtype=dtype)).requires_grad_() for _ in range(3)]


def _whole(x: Tensor, y: Tensor, z: Tensor, groups: Tensor | None = None, first: int = 0) -> tuple[Tensor, ...]:
    cube = torch.einsum("id,jd,kd->ijk", x, y, z)
    if groups is not None:
        left_out = torch.zeros_like(cube, dtype=torch.bool)
        for i in range(len(x)):
            for j in range(len(y)):
                for k in range(len(z)):
                    alike = groups[first + i] == groups[j] == groups[k]
                    left_out[i, j, k] = alike and not first + i == j == k
        cube = cube.masked_fill(left_out, -torch.inf)
    return cube.logsumexp((1, 2)), cube.logsumexp((0, 2)), cube.logsumexp((0, 1))


@pytest.mark.parametrize("tile", [1, 3, 7, 10, 14, 1000])
@pytest.mark.parametrize("groups", [None, [0, 1, 0, 2, 1, 0, 3]])
def test_values_and_gradients_equal_the_whole_cube(tile: int, groups: list[int] | None) -> None:
    together = None if groups is None else torch.tensor(groups)
    ours, theirs = _inputs(), _inputs()
    found = cube_logsumexps(*ours, tile=tile, groups=together)
    expected = _whole(*theirs, together)
    weights = torch.arange(1, 3 * N + 1, dtype=torch.float64).split(N)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for sums in (found, expected):
        sum((weight * one).sum() for weight, one in zip(weights, sums, strict=True)).backward()
    for here, there in zip(ours, theirs, strict=True):
        torch.testing.assert_close(here.grad, there.grad, rtol=1e-11, atol=1e-11)


def test_a_slab_sums_over_its_own_rows_only() -> None:
    groups = torch.tensor([0, 1, 0, 2, 1, 0, 3])
    x, y, z = _inputs()
    found = cube_logsumexps(x[2:5], y, z, tile=4, groups=groups, first=2)
    for one, other in zip(found, _whole(x[2:5], y, z, groups, first=2), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_slab_without_rows_sums_nothing() -> None:
    x, y, z = _inputs()
    over_x, over_y, over_z = cube_logsumexps(x[:0], y, z, tile=4)
    assert len(over_x) == 0
    assert (over_y == -torch.inf).all()
    assert (over_z == -torch.inf).all()


def test_axis_that_is_left_out_whole_has_no_gradient() -> None:
    """One row of one group of all: of the other columns nothing remains."""
    x, y, z = _inputs()
    over_x, over_y, _ = cube_logsumexps(x[:1], y, z, tile=4, groups=torch.zeros(N, dtype=torch.int64))
    assert (over_y[1:] == -torch.inf).all()
    (over_x.sum() + over_y[0]).backward()
    assert all(bool(value.grad.isfinite().all()) for value in (x, y, z))
    torch.testing.assert_close(x.grad[0], 2 * y[0].detach() * z[0].detach())


@pytest.mark.parametrize("scale", [1e-3, 8.0])
def test_single_precision_is_within_a_hundred_thousandth(scale: float) -> None:
    """Also where logits reach thousands, as with a large temperature."""
    exact, rough = _inputs(scale=scale, width=64), [
        value.detach().float().requires_grad_() for value in _inputs(scale=scale, width=64)
    ]  # fmt: skip
    losses = [sum(sums.mean() for sums in cube_logsumexps(*values, tile=11)) for values in (exact, rough)]
    torch.testing.assert_close(losses[1].double(), losses[0], rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    for one, other in zip(exact, rough, strict=True):
        scale_of = one.grad.abs().max()
        torch.testing.assert_close(other.grad.double() / scale_of, one.grad / scale_of, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    x, y, z = _inputs()
    torch.autograd.gradcheck(lambda *values: cube_logsumexps(*values, tile=5), (x, y, z))
