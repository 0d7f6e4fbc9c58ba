"""Log-sum-exps over the cube of all triples, tile by tile; memory grows with N times the tile, not with N^3."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from polyclinic.distributed import rank, stack_with_gradient, world_size

Sums = tuple[Float[Tensor, " n"], Float[Tensor, " N"], Float[Tensor, " N"]]


def cube_logsumexps(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "N d"],
    z: Float[Tensor, "N d"],
    *,
    tile: int,
    groups: Int[Tensor, " N"] | None = None,
    first: int = 0,
) -> Sums:
    """Return the log-sum-exps of ``L[i, j, k] = sum_d x[i, d] y[j, d] z[k, d]`` over each pair of its axes.

    One pass over the cube serves all three anchors; the published code builds the cube once per anchor. The backward
    pass recomputes each tile and multiplies it twice: 8 n N^2 d operations, forward and backward together.

    Args:
        x: rows ``first`` to ``first + n`` of the first modality: all N, or the share of one rank.
        y: embeddings of the second modality.
        z: embeddings of the third modality.
        tile: pairs (i, j) per tile; memory holds ``2 * tile`` rows of N logits and of d products.
        groups: group of each study. Studies of one group are not negatives of each other: a triple within one group
            is masked, unless i, j and k are the same study.
        first: index of the first row of ``x`` among the N.

    Returns:
        The log-sum-exps over (j, k) for each row of ``x``, over (i, k) for each row of ``y`` and over (i, j) for each
        row of ``z``. The last two include only the given rows of ``x``.
    """
    sums: Sums = _CubeLogSumExps.apply(x, y, z, tile, groups, first)
    return sums


def shared_cube_logsumexps(
    x: Float[Tensor, "N d"],
    y: Float[Tensor, "N d"],
    z: Float[Tensor, "N d"],
    *,
    tile: int,
    groups: Int[Tensor, " N"] | None = None,
) -> tuple[Float[Tensor, " N"], ...]:
    """Return ``cube_logsumexps`` of studies that every rank holds; each rank computes one slab of the first axis."""
    first, last = (len(x) * index // world_size() for index in (rank(), rank() + 1))
    over_x, over_y, over_z = cube_logsumexps(x[first:last], y, z, tile=tile, groups=groups, first=first)
    # Rows of other ranks are -inf, the identity of log-sum-exp, so that one log-sum-exp over ranks merges all slabs.
    before, after = (x.new_full((size,), -torch.inf) for size in (first, len(x) - last))
    partial = torch.stack([torch.cat([before, over_x, after]), over_y, over_z])
    return stack_with_gradient(partial).logsumexp(dim=0).unbind()


class _CubeLogSumExps(torch.autograd.Function):
    """Forward and backward passes over the tiles of the cube."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, z: Tensor, tile: int, groups: Tensor | None, first: int) -> Sums:
        over_x = x.new_full((len(x),), -torch.inf)
        over_y, over_z = (x.new_full((len(y),), -torch.inf) for _ in range(2))
        for rows, columns, _, logits in _Tiles(x, y, z, tile, groups, first):
            over_z = torch.logaddexp(over_z, logits.logsumexp(dim=0))
            pairs = logits.logsumexp(dim=1).view(rows.stop - rows.start, -1)
            over_x[rows] = torch.logaddexp(over_x[rows], pairs.logsumexp(dim=1))
            over_y[columns] = torch.logaddexp(over_y[columns], pairs.logsumexp(dim=0))
        ctx.save_for_backward(x, y, z, groups, over_x, over_y, over_z)
        ctx.tile, ctx.first = tile, first
        return over_x, over_y, over_z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply the gradient of the logits with the inputs, tile by tile.

        With X, Y and Z the three log-sum-exps and a, b and c their upstream gradients, the gradient of a logit is the
        sum of the softmax of each anchor, weighted by its upstream gradient::

            W[i, j, k] = a[i] exp(L[i, j, k] - X[i]) + b[j] exp(L[i, j, k] - Y[j]) + c[k] exp(L[i, j, k] - Z[k])

        A tile fixes X[i] and Y[j] per row, so that its first two terms share one exponential per logit, with the shift
        ``s[i, j] = min(X[i], Y[j])``::

            exp(L[i, j, k] - s[i, j]) * (a[i] exp(s[i, j] - X[i]) + b[j] exp(s[i, j] - Y[j]))

        No exponential can overflow: a log-sum-exp is at least as large as each of its logits, hence ``L <= s``, and
        ``s`` is at most X[i] and Y[j].
        """
        x, y, z, groups, *sums = ctx.saved_tensors
        # The log-sum-exp is -inf where every triple is masked; a finite value makes its softmax 0 instead of NaN.
        over_x, over_y, over_z = (over.clamp_min(torch.finfo(over.dtype).min) for over in sums)
        from_x, from_y, from_z = upstream
        grad_x, grad_y, grad_z = (torch.zeros_like(value) for value in (x, y, z))
        work = _Tiles(x, y, z, ctx.tile, groups, ctx.first)
        weights = torch.empty_like(work.logits)
        for rows, columns, products, logits in work:
            weight = torch.sub(logits, over_z, out=weights[: len(logits)]).exp_().mul_(from_z)
            row, column = over_x[rows, None], over_y[columns]
            shift = torch.minimum(row, column)
            share = from_x[rows, None] * (shift - row).exp_() + from_y[columns] * (shift - column).exp_()
            weight.addcmul_(logits.sub_(shift.view(-1, 1)).exp_(), share.view(-1, 1))
            grad_z.addmm_(weight.T, products)
            # sum_k W[i, j, k] z[k] is the gradient of the product x[i] * y[j]; it overwrites the products in place.
            grad_products = torch.mm(weight, z, out=products).view(*shift.shape, -1)
            grad_x[rows] += (grad_products * y[columns]).sum(dim=1)
            # Row by row: a sum over i in one expression would need another buffer of the size of the products.
            for row_index, grad_row in enumerate(grad_products, start=rows.start):
                grad_y[columns].addcmul_(grad_row, x[row_index])
        return grad_x, grad_y, grad_z, None, None, None


class _Tiles:
    """Iterates over blocks of t pairs (i, j), with their products [t, d] and logits [t, N] in reused buffers."""

    def __init__(self, x: Tensor, y: Tensor, z: Tensor, tile: int, groups: Tensor | None, first: int) -> None:
        self.x, self.y, self.z, self.groups, self.first = x, y, z, groups, first
        self.height, self.width = max(1, min(len(x), tile // len(y))), min(len(y), tile)
        self.products = x.new_empty(self.height * self.width, x.shape[1])
        self.logits = x.new_empty(len(self.products), len(z))

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
        for top in range(0, len(self.x), self.height):
            rows = slice(top, min(top + self.height, len(self.x)))
            for left in range(0, len(self.y), self.width):
                columns = slice(left, min(left + self.width, len(self.y)))
                yield rows, columns, *self._compute(rows, columns)

    def _compute(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        pairs = shape[0] * shape[1]
        products = self.products[:pairs]
        torch.mul(self.x[rows, None], self.y[columns], out=products.view(*shape, -1))
        logits = torch.mm(products, self.z.T, out=self.logits[:pairs])
        if self.groups is not None:
            self._mask_groups(logits.view(*shape, -1), rows, columns, self.groups)
        return products, logits

    def _mask_groups(self, logits: Tensor, rows: slice, columns: slice, groups: Tensor) -> None:
        """Mask the triples within one group, except a study's positive triple; few pairs share a group."""
        studies = torch.arange(len(groups), device=groups.device)
        anchors = studies[self.first :][rows]
        same = groups[anchors][:, None] == groups[columns]
        i, j = same.nonzero(as_tuple=True)
        in_group = groups[anchors[i]][:, None] == groups
        positive = (anchors[i] == studies[columns][j])[:, None] & (anchors[i][:, None] == studies)
        logits[i, j] = logits[i, j].masked_fill(in_group & ~positive, -torch.inf)
