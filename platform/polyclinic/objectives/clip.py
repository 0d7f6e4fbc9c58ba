"""Symmetric InfoNCE over pairs of modalities (Radford et al. 2021, "Learning transferable visual models")."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from polyclinic.objectives.embedding_batch import Groups
from polyclinic.objectives.functional import info_nce
from polyclinic.objectives.pairwise import PairwiseObjective


class Clip(PairwiseObjective):
    """``-1/2n sum_i [log softmax_j(s x_i y_j)_i + log softmax_j(s x_j y_i)_i]``, over pairs of modalities.

    Args:
        weights: weights by pair, such as ``{"xray+report": 1.0}``; all pairs equally when unset.
        initial_scale: initial factor on the cosines; 1/0.07 as in the paper.
        max_scale: upper bound of the learned scale; 100 as in the paper.
        learnable_scale: whether the scale is trained.
    """

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        initial_scale: float = 1 / 0.07,
        max_scale: float = 100.0,
        learnable_scale: bool = True,
    ) -> None:
        super().__init__(
            weights=weights, initial_scale=initial_scale, max_scale=max_scale, learnable_scale=learnable_scale
        )

    def _pair_loss(
        self, x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], groups: Groups | None, pair: tuple[str, str]
    ) -> Float[Tensor, ""]:
        return info_nce(self.scale() * x @ y.T, groups)
