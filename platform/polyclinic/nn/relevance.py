"""Which tokens of a modality a score comes from; `polyclinic.evaluation.explain` tests that this means something."""

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
"""From one modality's pooled vectors to the score that is explained, each study by itself, all else held fixed."""


def token_relevance(encoder: Encoder, inputs: Mapping[str, Tensor], score: Score) -> Float[Tensor, "B T"]:
    """How much each token raises the score.

    At an encoder's last tokens it is the positive part of gradient times token, as in Grad-CAM (Selvaraju et al.
    2017, equation 2) with tokens in the place of pixels, and with the mean token of the study taken off: to first
    order this is what a mean over tokens loses with each. Without that step half of the phantom's reports had no
    relevance anywhere.

    Through the shared transformer relevance is carried back to the tokens that entered, as by Chefer et al. (2021,
    "Generic attention-model explainability"). Where they read the row of a class token, here every token is pooled
    and starts with the relevance above; from the last layer to the first ``r <- r + r A``, with A the mean over heads
    of the positive part of attention times its gradient: their equations 5 and 6, multiplied from the left. Rows of A
    are divided by their sums, as they do before relevance crosses to another modality, or the residual would drown
    them where many tokens share a gradient. Other encoders keep the relevance of their last tokens; one that pools
    its class token alone gives all of it to that token.

    A convolution ahead of attention, as in the encoder of reports, is not carried through: a token stands for
    itself and its neighbours. Nothing tells what lowers the score; explain ``-score`` for that.

    Args:
        encoder: of one modality, in any mode; it is used in evaluation mode, with frozen weights too, and left as it
            was, without gradients.
        inputs: collated, of B studies that have the modality.
        score: may not use tensors made under ``torch.inference_mode``; clone these.

    Returns:
        0 or more, to be compared within a study; 0 at padding, and throughout where all tokens say the same.

    Raises:
        ValueError: the scores are not one per study, or do not follow from the tokens by way of the pooled vectors.
    """
    with torch.inference_mode(False), torch.enable_grad(), evaluating(encoder), _thawed(encoder):
        with keep_attention(encoder) as kept:
            # Clones, because tensors made under inference_mode take part in no gradient.
            encoded = encoder({name: value.clone() for name, value in inputs.items()})
        scores = one_per_study(score(encoded.pooled), len(encoded.pooled))
        attention = kept if isinstance(encoder, TransformerEncoder) else []
        of_tokens, *of_attention = _gradients(scores, [encoded.tokens, *attention], encoder)
    with torch.no_grad():
        beyond = encoded.tokens - masked_mean(encoded.tokens, encoded.padding)[:, None]
        relevance = (beyond * of_tokens).sum(dim=2).clamp_min(0).masked_fill(encoded.padding, 0)
        for weights, gradient in zip(reversed(attention), reversed(of_attention), strict=True):
            mixing = (weights * gradient).clamp_min(0).mean(dim=1)
            total = mixing.sum(dim=2, keepdim=True).clamp_min(torch.finfo(mixing.dtype).tiny)
            relevance = relevance + torch.einsum("bi,bij->bj", relevance, mixing / total)
        return relevance.masked_fill(encoded.padding, 0)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards each part in the mode in which it was."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def one_per_study(scores: Tensor, studies: int) -> Float[Tensor, " B"]:
    """The scores, checked.

    Raises:
        ValueError: they are not one number for each study.
    """
    if scores.shape != (studies,):
        raise ValueError(
            f"got scores of shape {tuple(scores.shape)} for {studies} studies, expected one number for each; give a "
            "`score` of one finding"
        )
    return scores


@contextmanager
def _thawed(module: nn.Module) -> Iterator[None]:
    """Let gradients flow through frozen weights, without which nothing would follow from whole-number inputs."""
    frozen = [one for one in module.parameters() if one.is_floating_point() and not one.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _gradients(scores: Tensor, sources: list[Tensor], encoder: Encoder) -> list[Tensor]:
    """Gradients of the sum, which are those of each study's own score; zeros where a layer adds nothing."""
    tokens = sources[0]
    found = torch.autograd.grad(scores.sum(), sources, allow_unused=True) if scores.requires_grad else [None]
    if found[0] is None:
        raise ValueError(
            f"got a score to which no gradient leads from the tokens of {type(encoder).__name__} (shape "
            f"{tuple(tokens.shape)}), expected one made of `Encoded.pooled`, and that of `Encoded.tokens`; compute "
            "`score` from its argument, or explain another encoder"
        )
    return [torch.zeros_like(source) if one is None else one for source, one in zip(sources, found, strict=True)]
