"""Relevance of a modality's tokens to a score; ``polyclinic.evaluation.explain`` tests its faithfulness."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyclinic.nn.encoder import Encoder, TransformerEncoder
from polyclinic.nn.pooling import masked_mean
from polyclinic.nn.transformer import keep_attention

Score: TypeAlias = Callable[[Float[Tensor, "B D"]], Float[Tensor, " B"]]
"""Function from a modality's pooled vectors to the explained score, study by study, with all else fixed."""


def token_relevance(encoder: Encoder, inputs: Mapping[str, Tensor], score: Score) -> Float[Tensor, "B T"]:
    """Return how much each token increases the score.

    At the last tokens of an encoder, relevance is the positive part of gradient times token, as in Grad-CAM (Selvaraju
    et al. 2017, equation 2) with tokens for pixels, after subtraction of the study's mean token: to first order, this
    is the change of a mean over tokens when a token is removed. Without the subtraction, half of the phantom's reports
    had no relevance anywhere.

    Relevance is propagated through the shared transformer to its input tokens, after Chefer et al. (2021, "Generic
    attention-model explainability"). They use the row of a class token; here every token is pooled and starts with the
    relevance above. From the last layer to the first, ``r <- r + r A``, with A the mean over heads of the positive
    part of attention times its gradient: their equations 5 and 6, multiplied from the left. Rows of A are divided by
    their sums, as in their propagation to another modality; otherwise the residual dominates if many tokens share a
    gradient. Other encoders keep the relevance of their last tokens; if only a class token is pooled, it gets all
    relevance.

    Relevance is not propagated through a convolution ahead of attention, as in the encoder of reports: there, a token
    represents itself and its neighbours. To see which tokens lower the score, explain ``-score``.

    Args:
        encoder: encoder of one modality, in any mode, with trained or frozen weights. It runs in evaluation mode; its
            mode is restored, and no gradient remains.
        inputs: collated inputs of B studies that have the modality.
        score: function to explain; it must clone tensors that were made under ``torch.inference_mode``.

    Returns:
        Relevance of 0 or more, comparable within a study; 0 at padding, and everywhere if all tokens are equal.

    Raises:
        ValueError: there is not one score per study, or the scores do not depend on the tokens via the pooled vectors.
    """
    with torch.inference_mode(False), torch.enable_grad(), evaluating(encoder), _thawed(encoder):
        with keep_attention(encoder) as recorded:
            # Clones, because tensors made under inference_mode cannot have gradients.
            encoded = encoder({name: value.clone() for name, value in inputs.items()})
        scores = one_per_study(score(encoded.pooled), len(encoded.pooled))
        attention = recorded if isinstance(encoder, TransformerEncoder) else []
        token_gradient, *attention_gradients = _gradients(scores, [encoded.tokens, *attention], encoder)
    with torch.no_grad():
        centred = encoded.tokens - masked_mean(encoded.tokens, encoded.padding)[:, None]
        relevance = (centred * token_gradient).sum(dim=2).clamp_min(0).masked_fill(encoded.padding, 0)
        for weights, gradient in zip(reversed(attention), reversed(attention_gradients), strict=True):
            mixing = (weights * gradient).clamp_min(0).mean(dim=1)
            total = mixing.sum(dim=2, keepdim=True).clamp_min(torch.finfo(mixing.dtype).tiny)
            relevance = relevance + torch.einsum("bi,bij->bj", relevance, mixing / total)
        return relevance.masked_fill(encoded.padding, 0)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode, and restore the mode of each part afterwards."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def one_per_study(scores: Tensor, studies: int) -> Float[Tensor, " B"]:
    """Return the scores after a check of their shape.

    Raises:
        ValueError: there is not one number per study.
    """
    if scores.shape != (studies,):
        raise ValueError(
            f"got scores of shape {tuple(scores.shape)} for {studies} studies, expected one number for each; pass a "
            "`score` of one finding"
        )
    return scores


@contextmanager
def _thawed(module: nn.Module) -> Iterator[None]:
    """Enable gradients of frozen weights; otherwise integer inputs have no gradient path to the score."""
    frozen = [weight for weight in module.parameters() if weight.is_floating_point() and not weight.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _gradients(scores: Tensor, sources: list[Tensor], encoder: Encoder) -> list[Tensor]:
    """Return the gradients of each study's score (by the sum of scores); zeros for a source without influence."""
    tokens = sources[0]
    gradients = torch.autograd.grad(scores.sum(), sources, allow_unused=True) if scores.requires_grad else [None]
    if gradients[0] is None:
        raise ValueError(
            f"got a score without a gradient to the tokens of {type(encoder).__name__} (shape "
            f"{tuple(tokens.shape)}), expected one computed from `Encoded.pooled`, and that from `Encoded.tokens`; "
            "compute `score` from its argument, or explain another encoder"
        )
    return [
        torch.zeros_like(source) if gradient is None else gradient
        for source, gradient in zip(sources, gradients, strict=True)
    ]
