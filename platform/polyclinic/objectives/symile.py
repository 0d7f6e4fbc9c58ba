"""Symile: joint contrast of any number of modalities (Saporta et al. 2024, "Contrasting with Symile")."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyclinic.objectives.cube import cube_logsumexps, shared_cube_logsumexps
from polyclinic.objectives.embedding_batch import EmbeddingBatch, Embeddings, Groups, Present
from polyclinic.objectives.functional import NORMALIZATIONS, Scale, info_nce
from polyclinic.objectives.objective import Objective

_SCALES = {"rms": (5.0, 100.0), "layer": (5.0, 100.0), "l2": (1 / 0.07, 1e4), "none": (1e-3, 1e4)}
"""Initial and largest scale by normalisation."""

_SUMMED = ("l2", "none")
"""Normalisations with a sum over d in place of the mean."""


class Symile(Objective):
    """Multilinear contrast (paper, section 3): the logit of a tuple is ``scale * mean_d(prod_m z_m)``.

    Each modality is the anchor in turn, and the loss is the mean over anchors of the cross-entropy of a study's
    complete tuple. With ``negatives="all"``, the negatives of anchor i are all other tuples (i, j, k), N^2 - 1 of
    them, computed in tiles (see ``cube_logsumexps``). This is for three modalities; with more, loss and score are
    means over triples of them. With ``negatives="shuffled"``, for any number of modalities M, the negatives are
    K(N - 1) tuples of the anchor with members of other studies: the first other modality keeps the batch's order and
    the rest are permuted independently. As only the relative order matters, a tuple in column j != i never has study i
    as its first other member, so that no negative can coincide with the positive. For two modalities, both settings are
    symmetric InfoNCE. All negatives learn faster per step; shuffled ones capture interactions of four modalities or
    more.

    Why RMS and not L2: the product sum of M = 3 unit vectors of width d is about 1/d by chance and 1/sqrt(d) when
    aligned, so that CLIP's setting (L2, scale at most 100) does not train. RMS-normalised vectors with the mean over
    d give 1/sqrt(d) by chance and 1 when aligned, for every d: with an initial scale of 5, the softmax is soft at
    d = 16 (noise of 1.3 in the logits), gradients pass at d = 8192, and both learn an exclusive-or within seconds.
    ``layer`` is RMS after subtraction of the mean over d (the published code): embeddings then cannot start around the
    neutral value of one, and learn an interaction later. ``none`` is for encoders that end in a LayerNorm with learned
    weights (the published experiment): the sum over d of their product is about sqrt(d) by chance and d when aligned.

    Args:
        negatives: ``all`` or ``shuffled``.
        shuffles: independent permutations K per anchor, for ``shuffled``.
        triples: triples of modalities to contrast, for ``all`` with more than three; every triple when unset.
        normalize: ``rms`` or ``layer``, or ``l2`` or ``none`` with a sum over d in place of the mean.
        initial_scale: initial factor on the logits; 5 unless set. For ``l2`` it is 1/0.07, which suits M = 2 only: set
            about 5 sqrt(d) for M = 3. For ``none`` it is 0.001: set about 5/d.
        max_scale: upper bound of the learned scale; 100 unless set, 10,000 for ``l2`` and ``none``.
        learnable_scale: whether the scale is trained.
        tile: pairs of studies per tile, for ``all``; a smaller tile needs less memory.

    Raises:
        ValueError: a mode is unknown, ``shuffles`` or ``tile`` is below one, a triple is not three names, or the
            initial scale is out of range.
    """

    draws: Tensor
    neutral = 1.0

    def __init__(
        self,
        *,
        negatives: str = "all",
        shuffles: int = 1,
        triples: Sequence[Sequence[str]] | None = None,
        normalize: str = "rms",
        initial_scale: float | None = None,
        max_scale: float | None = None,
        learnable_scale: bool = True,
        tile: int = 2048,
    ) -> None:
        super().__init__()
        _check_settings(negatives, shuffles, triples, normalize, tile)
        self.mode, self.shuffles, self.tile, self.normalize = negatives, shuffles, tile, normalize
        self.triples = None if triples is None else {frozenset(triple) for triple in triples}
        self.referenced_modalities = frozenset().union(*(self.triples or ()))
        initial, largest = _SCALES[normalize]
        self.scale = Scale(
            initial=initial if initial_scale is None else initial_scale,
            largest=largest if max_scale is None else max_scale,
            learnable=learnable_scale,
        )
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def _loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        losses = [self._tuple_loss(part) for part in self._parts(studies) if len(part) >= 2]
        if self.training:
            self.draws += 1
        return sum(losses, start=studies.zero_loss() + 0.0 * self.scale()) / max(len(losses), 1)

    def score(
        self, query: Embeddings, candidates: Float[Tensor, "C d"], present: Present | None = None
    ) -> Float[Tensor, "N C"]:
        """Return the logit of each candidate with the query's tuple; the product omits missing modalities.

        With ``negatives="all"`` and three query modalities or more, this is the mean over the contrasted pairs of them
        that a study has, or the logit with all modalities it has if there is no such pair.
        """
        unit = {name: self._normalised(value) for name, value in query.items()}
        rows = {name: value[:, None] for name, value in EmbeddingBatch.rows(query, present).items()}
        combined = _product(unit, rows)
        if self.mode == "all" and len(unit) > 2:
            combined = _mean_over_pairs(unit, rows, self._query_pairs(list(unit)), combined)
        return self._factor(candidates.shape[-1]) * combined @ self._normalised(candidates).T

    def negatives(self, studies: EmbeddingBatch) -> float:
        """Return the mean number of negatives per anchor: all of them, or those of one step's shuffles."""
        counts = [self._count(part) for part in self._parts(studies) if len(part) >= 2]
        return sum(counts) / max(len(counts), 1)

    def _parts(self, studies: EmbeddingBatch) -> list[EmbeddingBatch]:
        names = list(studies.embeddings)
        if self.mode == "shuffled" or len(names) <= 3:
            return [studies.complete()]
        chosen = [triple for triple in combinations(names, 3) if self._is_chosen(frozenset(triple))]
        if not chosen:
            raise ValueError(
                f"got modalities {names}, of which no three are contrasted; add some to `objective.triples`, or set "
                "`objective.negatives` to shuffled"
            )
        return [studies.only(triple).complete() for triple in chosen]

    def _query_pairs(self, names: Sequence[str]) -> list[tuple[str, str]]:
        pairs = list(combinations(names, 2))
        if self.triples is None:
            return pairs
        contrasted = [triple & set(names) for triple in self.triples]
        return [pair for pair in pairs if set(pair) in contrasted]

    def _is_chosen(self, triple: frozenset[str]) -> bool:
        return self.triples is None or triple in self.triples

    def _tuple_loss(self, studies: EmbeddingBatch) -> Float[Tensor, ""]:
        unit = [self._normalised(value) for value in studies.embeddings.values()]
        if len(unit) == 2:
            return info_nce(self._factor(unit[0].shape[-1]) * unit[0] @ unit[1].T, studies.groups)
        if self.mode == "shuffled":
            return self._shuffled_loss(unit, studies.groups)
        return self._cube_loss(unit, studies.groups, shared=studies.gathered)

    def _cube_loss(
        self, unit: Sequence[Float[Tensor, "n d"]], groups: Groups | None, *, shared: bool
    ) -> Float[Tensor, ""]:
        x, y, z = unit
        x = self._factor(x.shape[-1]) * x
        compute = shared_cube_logsumexps if shared else cube_logsumexps
        sums = torch.stack(compute(x, y, z, tile=self.tile, groups=groups))
        return sums.mean() - (x * y * z).sum(dim=1).mean()

    def _shuffled_loss(self, unit: Sequence[Float[Tensor, "n d"]], groups: Groups | None) -> Float[Tensor, ""]:
        target = torch.arange(len(unit[0]), device=unit[0].device)
        return torch.stack([F.cross_entropy(logits, target) for logits in self._shuffled_logits(unit, groups)]).mean()

    def _shuffled_logits(
        self, unit: Sequence[Float[Tensor, "n d"]], groups: Groups | None
    ) -> list[Float[Tensor, "n Kn"]]:
        """Return the logits of each anchor modality; masked ones are minus infinity."""
        generator = torch.Generator().manual_seed(int(self.draws))
        return [
            self._anchor_logits([unit[anchor], *unit[:anchor], *unit[anchor + 1 :]], groups, generator)
            for anchor in range(len(unit))
        ]

    def _anchor_logits(
        self, unit: Sequence[Float[Tensor, "n d"]], groups: Groups | None, generator: torch.Generator
    ) -> Float[Tensor, "n Kn"]:
        x, *others = unit
        diagonal = torch.eye(len(x), dtype=torch.bool, device=x.device)
        x = self._factor(x.shape[-1]) * x
        positive = (x * math.prod(others[1:], start=others[0])).sum(dim=-1, keepdim=True)
        blocks = []
        for shuffle in range(self.shuffles):
            orders = [torch.randperm(len(x), generator=generator).to(x.device) for _ in others[1:]]
            tuples = zip(others[1:], orders, strict=True)
            logits = x @ math.prod((other[order] for other, order in tuples), start=others[0]).T
            if groups is not None:
                logits = logits.masked_fill(_within_group(groups, orders), -torch.inf)
            # The diagonal holds the positive in the first block, and is masked in the others.
            replacement = positive if shuffle == 0 else torch.full_like(positive, -torch.inf)
            blocks.append(torch.where(diagonal, replacement, logits))
        return torch.cat(blocks, dim=1)

    def _count(self, studies: EmbeddingBatch) -> float:
        n, group_sizes = len(studies), 1 + studies.mates().double()
        if len(studies.embeddings) == 2:
            return n - float(group_sizes.mean())
        if self.mode == "all":
            return n * n - float(group_sizes.square().mean())
        with torch.no_grad():
            unit = [self._normalised(value) for value in studies.embeddings.values()]
            unmasked = torch.stack(self._shuffled_logits(unit, studies.groups)) > -torch.inf
        return float(unmasked.sum()) / (n * len(unit)) - 1

    def _normalised(self, value: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        return NORMALIZATIONS[self.normalize](value)

    def _factor(self, width: int) -> Float[Tensor, ""]:
        return self.scale() if self.normalize in _SUMMED else self.scale() / width


def _within_group(groups: Groups, orders: Sequence[Int[Tensor, " n"]]) -> Bool[Tensor, "n n"]:
    """Return the mask of tuples, by anchor and column, with all members in the anchor's group."""
    uniform = torch.stack([groups[order] == groups for order in orders]).all(dim=0)
    return uniform & (groups[:, None] == groups)


def _product(unit: Embeddings, rows: Mapping[str, Bool[Tensor, "N 1"]]) -> Float[Tensor, "N d"]:
    """Multiply the modalities that each study has; zeros where it has none."""
    product = math.prod(torch.where(rows[name], value, 1.0) for name, value in unit.items())
    return product * torch.stack(list(rows.values())).any(dim=0)


def _mean_over_pairs(
    unit: Embeddings, rows: Mapping[str, Bool[Tensor, "N 1"]], pairs: Sequence[tuple[str, str]], otherwise: Tensor
) -> Float[Tensor, "N d"]:
    total, count = torch.zeros_like(otherwise), otherwise.new_zeros(len(otherwise), 1)
    for first, second in pairs:
        both = rows[first] & rows[second]
        total, count = total + both * unit[first] * unit[second], count + both
    return torch.where(count > 0, total / count.clamp_min(1.0), otherwise)


def _check_settings(
    negatives: str, shuffles: int, triples: Sequence[Sequence[str]] | None, normalize: str, tile: int
) -> None:
    if negatives not in ("all", "shuffled"):
        raise ValueError(f"got negatives {negatives!r}, expected 'all' or 'shuffled'; set `objective.negatives`")
    if normalize not in NORMALIZATIONS:
        raise ValueError(f"got normalize {normalize!r}, expected one of {list(NORMALIZATIONS)}; set it in `objective`")
    for setting, value in (("shuffles", shuffles), ("tile", tile)):
        if value < 1:
            raise ValueError(f"got {setting} {value}, expected at least 1; set `objective.{setting}`")
    for triple in triples or ():
        if isinstance(triple, str) or len(set(triple)) != 3:
            raise ValueError(
                f"got triple {triple!r}, expected three modalities; set `objective.triples`, such as "
                "[[xray, ecg, report]]"
            )
