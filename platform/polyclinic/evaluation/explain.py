"""The deletion test of explanations: a score must fall when the most relevant tokens are deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyclinic.evaluation.metrics.arrays import as_float64
from polyclinic.evaluation.metrics.intervals import Interval, mean_interval, patient_resamples
from polyclinic.nn import Encoder, Tokens, TransformerEncoder
from polyclinic.nn.relevance import Score, evaluating, one_per_study

MOST_FIRST, AT_RANDOM, LEAST_FIRST = "most relevant first", "at random", "least relevant first"
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, kw_only=True)
class DeletionCurve:
    """Scores of B studies as more and more tokens are deleted.

    Attributes:
        shares: S shares of the tokens that are deleted.
        scores: scores by order of deletion; NaN for a study of fewer than two tokens, as at least one must remain.
    """

    shares: tuple[float, ...]
    scores: Mapping[str, Float[np.ndarray, "B S"]]

    def areas(self, order: str) -> Float[np.ndarray, " B"]:
        """Compute the area under the curve of each study by the trapezoidal rule, in units of the score."""
        return np.trapezoid(self.scores[order], np.array(self.shares), axis=1)

    def advantages(self) -> Float[np.ndarray, " B"]:
        """Return the area at random minus that with the most relevant first; positive if relevance beats chance."""
        return self.areas(AT_RANDOM) - self.areas(MOST_FIRST)


@dataclass(frozen=True, kw_only=True)
class DeletionReport:
    """Result of the deletion test, averaged over the studies with at least two tokens.

    Attributes:
        shares: S shares of the tokens that are deleted.
        curves: mean score at each share, by order of deletion.
        areas: mean area, by order of deletion.
        advantage: mean area at random minus mean area with the most relevant first.
        advantage_ci95: 95 % interval of the advantage over resamples of patients.
        studies: number of studies in the means.
        undefined: number of studies left out, as they have fewer than two tokens.
    """

    shares: tuple[float, ...]
    curves: Mapping[str, Float[np.ndarray, " S"]]
    areas: Mapping[str, float]
    advantage: float
    advantage_ci95: Interval
    studies: int
    undefined: int


def deletion_curve(
    encoder: Encoder,
    inputs: Mapping[str, Tensor],
    relevance: Float[Tensor, "B T"],
    score: Score,
    *,
    rng: np.random.Generator,
    shares: Sequence[float] = SHARES,
    draws: int = 5,
) -> DeletionCurve:
    """Score B studies without their most relevant tokens, without random tokens, and without the least relevant ones.

    This is the deletion test of Samek et al. (2017) and Petsiuk et al. (2018, "RISE", section 3.2). They replace pixels
    by grey or blur; here tokens are left out of the encoder and of its pooling, so that the model sees no values that
    it never saw in training. Ties are in random order, so that a constant relevance has no advantage. If tokens
    overlap (``stem: conv``), the edges of a deleted token remain visible in its neighbours.

    Args:
        encoder: encoder of one modality; it runs in evaluation mode, and its mode is restored.
        inputs: collated inputs of B studies that have the modality.
        relevance: relevance of each token, from ``token_relevance`` or another explanation.
        score: score of each study, as in ``token_relevance``.
        rng: random generator for the random orders and the ties.
        shares: shares of a study's tokens to delete, ascending from 0 to less than 1; one token always remains.
        draws: number of random orders to average over.

    Raises:
        ValueError: the encoder cannot leave tokens out, the relevance has another shape or is not finite, shares or
            draws are out of range, or scores are not one per study.
    """
    if not isinstance(encoder, TransformerEncoder):
        raise ValueError(
            f"got encoder {type(encoder).__name__}, which cannot leave tokens out, expected a TransformerEncoder; "
            "evaluate the plugin's own encoder"
        )
    _check(shares, draws)
    with torch.no_grad(), evaluating(encoder):
        tokens = encoder.tokenize(dict(inputs))
        values = _checked(relevance, tokens.padding)
        falling, rising = (_ranks(sign * values, tokens.padding, rng) for sign in (-1, 1))
        random = [_ranks(np.zeros_like(values), tokens.padding, rng) for _ in range(draws)]
        scores = {
            order: np.mean([_scores(encoder, tokens, ranks, shares, score) for ranks in rankings], axis=0)
            for order, rankings in ((MOST_FIRST, [falling]), (AT_RANDOM, random), (LEAST_FIRST, [rising]))
        }
    return DeletionCurve(shares=tuple(shares), scores=scores)


def deletion_report(
    curves: Sequence[DeletionCurve], patient_ids: Sequence[str], *, resamples: int, seed: int
) -> DeletionReport:
    """Average curves and areas over batches of studies; measure the advantage over random deletion with its interval.

    Args:
        curves: curves of the batches, at the same shares.
        patient_ids: patient ids of all their studies, in order.
        resamples: number of resamples of patients.
        seed: seed of the resamples.

    Raises:
        ValueError: there are no curves, their shares differ, or the numbers of patient ids and studies differ.
    """
    if len({curve.shares for curve in curves}) != 1:
        raise ValueError(
            f"got {len(curves)} curves at {len({curve.shares for curve in curves})} sets of shares, expected one or "
            "more at the same; set `shares` alike"
        )
    scores = {order: np.concatenate([curve.scores[order] for curve in curves]) for order in curves[0].scores}
    joined = DeletionCurve(shares=curves[0].shares, scores=scores)
    advantages = joined.advantages()
    if len(advantages) != len(patient_ids):
        raise ValueError(
            f"got {len(patient_ids)} patients for {len(advantages)} studies, expected one for each; set `patient_ids`"
        )
    known = ~np.isnan(advantages)
    means = {order: _mean(values, known) for order, values in scores.items()}
    # The mean of the areas equals the area under the mean curve.
    areas = {order: float(np.trapezoid(curve, np.array(joined.shares))) for order, curve in means.items()}
    return DeletionReport(
        shares=joined.shares,
        curves=means,
        areas=areas,
        advantage=areas[AT_RANDOM] - areas[MOST_FIRST],
        advantage_ci95=mean_interval(advantages, patient_resamples(patient_ids, resamples, seed)),
        studies=int(known.sum()),
        undefined=int((~known).sum()),
    )


def _check(shares: Sequence[float], draws: int) -> None:
    steps = np.array(shares)
    if len(steps) < 2 or not (np.diff(steps) > 0).all() or not 0 <= steps[0] <= steps[-1] < 1:
        raise ValueError(
            f"got shares {list(shares)}, expected two or more that rise from 0 to less than 1; set `shares`"
        )
    if draws < 1:
        raise ValueError(f"got {draws} draws, expected at least 1; set `draws`")


def _checked(relevance: Tensor, padding: Bool[Tensor, "B T"]) -> Float[np.ndarray, "B T"]:
    if relevance.shape != padding.shape:
        raise ValueError(
            f"got a relevance of shape {tuple(relevance.shape)}, expected {tuple(padding.shape)} for these studies and "
            "tokens; explain this encoder on these inputs"
        )
    values = as_float64(relevance)
    if not np.isfinite(values).all():
        raise ValueError(
            f"got {int((~np.isfinite(values)).sum())} tokens whose relevance is not finite, expected numbers; explain "
            "another checkpoint"
        )
    return values


def _ranks(
    values: Float[np.ndarray, "B T"], padding: Bool[Tensor, "B T"], rng: np.random.Generator
) -> Int[Tensor, "B T"]:
    """Return the rank of each token by ascending value, with ties in random order and padding last."""
    absent = padding.cpu().numpy()
    order = np.lexsort((rng.random(values.shape), np.where(absent, np.inf, values)), axis=1)
    return torch.from_numpy(order.argsort(axis=1)).to(padding.device)


def _scores(
    encoder: TransformerEncoder, tokens: Tokens, ranks: Int[Tensor, "B T"], shares: Sequence[float], score: Score
) -> Float[np.ndarray, "B S"]:
    """Score the studies at each share, with tokens of low rank deleted first."""
    count = (~tokens.padding).sum(dim=1)
    columns = []
    for share in shares:
        deleted = (share * count).round().long().minimum(count - 1)
        encoded = encoder.encode(tokens, (ranks < deleted[:, None]) & ~tokens.padding)
        columns.append(as_float64(one_per_study(score(encoder.pool(encoded.tokens, encoded.padding)), len(count))))
    return np.where((count < 2).cpu().numpy()[:, None], np.nan, np.stack(columns, axis=1))


def _mean(scores: Float[np.ndarray, "N S"], known: Bool[np.ndarray, " N"]) -> Float[np.ndarray, " S"]:
    return scores[known].mean(axis=0) if known.any() else np.full(scores.shape[1], np.nan)
