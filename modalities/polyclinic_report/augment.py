"""Augmentation of a tokenised report, by sentences and by tokens."""

import numpy as np
import torch

from polyclinic.modality import Item

OUTSIDE = -1
"""Sentence index of markers that some vocabularies put around a text, such as [CLS] and [SEP]."""


def vary_sentences(item: Item, rng: np.random.Generator, *, subset: float, token_dropout: float) -> Item:
    """Shuffle the sentences, drop some of them, and drop single tokens; markers stay in place.

    Args:
        item: ``tokens`` [T], ``sentence`` [T], and further tensors with a value per token.
        rng: generator of all parameters.
        subset: probability that only a subset of the sentences remains, of uniform size.
        token_dropout: share of tokens to drop; at least one token remains.

    Returns:
        The same keys, with sentences renumbered from 0.
    """
    tokens, sentence = item["tokens"].numpy(), item["sentence"].numpy()
    inside = np.flatnonzero(sentence != OUTSIDE)
    order = rng.permutation(np.unique(sentence[inside]))
    count = int(rng.integers(1, len(order) + 1)) if rng.random() < subset else len(order)
    dropped = rng.random(len(tokens)) < token_dropout
    # Dropped sentences rank after the closing markers, which get rank `count`; opening markers get -1.
    rank = np.full(order.max() + 1, count + 1)
    rank[order[:count]] = np.arange(count)
    place = rank[sentence]
    place[: inside[0]], place[inside[-1] + 1 :] = -1, count
    keep = place <= count
    if not np.all(dropped[inside] | (place[inside] > count)):
        keep &= ~dropped | (sentence == OUTSIDE)
    chosen = np.flatnonzero(keep)
    chosen = chosen[np.argsort(place[chosen], kind="stable")]
    renumbered = np.where(sentence[chosen] == OUTSIDE, OUTSIDE, place[chosen])
    varied = {name: value[torch.from_numpy(chosen)] for name, value in item.items()}
    return {**varied, "sentence": torch.from_numpy(renumbered)}
