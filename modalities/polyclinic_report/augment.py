"""Random variation of a tokenised report, by whole sentences and by single tokens."""

import numpy as np
import torch

from polyclinic.modality import Item

OUTSIDE = -1
"""Sentence index of the markers that some vocabularies put around a text, such as [CLS] and [SEP]."""


def vary_sentences(item: Item, rng: np.random.Generator, *, subset: float, token_dropout: float) -> Item:
    """Shuffle the sentences, keep some of them, and leave out single tokens; markers stay where they are.

    Args:
        item: ``tokens`` [T], ``sentence`` [T], and whatever else has a value per token.
        rng: source of every parameter.
        subset: probability that only a part of the sentences, of uniformly drawn size, is kept.
        token_dropout: share of the tokens left out; at least one token remains.

    Returns:
        The same keys, sentences numbered anew from 0.
    """
    tokens, sentence = item["tokens"].numpy(), item["sentence"].numpy()
    inside = np.flatnonzero(sentence != OUTSIDE)
    order = rng.permutation(np.unique(sentence[inside]))
    count = int(rng.integers(1, len(order) + 1)) if rng.random() < subset else len(order)
    dropped = rng.random(len(tokens)) < token_dropout
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
    kept = {name: value[torch.from_numpy(chosen)] for name, value in item.items()}
    return {**kept, "sentence": torch.from_numpy(renumbered)}
