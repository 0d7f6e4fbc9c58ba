"""The bag of n-grams: order matters within a phrase but not between phrases, and padding never does."""

import pytest
import torch

from polyclinic_report import NgramEncoder


def _encoded(encoder: NgramEncoder, *texts: list[int], length: int = 8) -> torch.Tensor:
    tokens = torch.zeros(len(texts), length, dtype=torch.int64)
    padding = torch.ones(len(texts), length, dtype=torch.bool)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text)
        padding[row, : len(text)] = False
    return encoder({"tokens": tokens, "padding": padding}).pooled.detach()


def test_each_token_is_the_sum_of_the_ngrams_that_start_there() -> None:
    encoder = NgramEncoder(width=16, rows=64, longest=3).double()
    text = [5, 9, 7]
    words, pairs, triples = encoder.tables
    rows = []
    for first, second, third in ((5, 9, 7), (9, 7, 0), (7, 0, 0)):
        pair = (first * 31_337 + second * 7_919 + 1) % 64
        triple = (pair * 31_337 + third * 7_919 + 2) % 64
        rows.append(words.weight[first] + pairs.weight[pair] + triples.weight[triple])
    summed = torch.stack(rows)
    mixed = (summed + encoder.mlp(summed))[None]
    expected = encoder.pool(mixed, torch.zeros(1, 3, dtype=torch.bool))
    torch.testing.assert_close(_encoded(encoder, text, length=3), expected.detach())


def test_padding_and_other_studies_of_the_batch_change_nothing() -> None:
    torch.manual_seed(0)
    encoder = NgramEncoder(width=16)
    alone = _encoded(encoder, [3, 4, 5], length=3)
    torch.testing.assert_close(_encoded(encoder, [3, 4, 5], [6, 7, 8, 9, 10], length=12)[:1], alone)


def test_ngrams_distinguish_word_order_and_single_words_do_not() -> None:
    torch.manual_seed(0)
    for longest, distinguished in ((1, False), (2, True)):
        forward, swapped = _encoded(NgramEncoder(width=16, longest=longest), [3, 4, 5], [4, 3, 5])
        assert torch.allclose(forward, swapped, atol=1e-5) is not distinguished


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="set `width`"):
        NgramEncoder(rows=0)
