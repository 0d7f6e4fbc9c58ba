"""Subword vocabularies, trained on reports or read from a local folder."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

MIN_VOCABULARY_SIZE = 300
"""All 256 bytes, padding, and some merges."""

PADDING = "[PAD]"
_MIN_FREQUENCY = 2


def train_vocabulary(texts: Iterable[str], size: int) -> Tokenizer:
    """Train a lower-cased byte-level BPE vocabulary (Sennrich et al. 2016; Radford et al. 2019).

    It has no unknown words: unseen ones are split into bytes. The same texts always give the same vocabulary, because
    byte-level BPE has a fixed alphabet, while WordPiece numbers its alphabet in hash order. Padding is token 0.

    Args:
        texts: texts of the training split.
        size: maximal number of entries, at least ``MIN_VOCABULARY_SIZE``.

    Raises:
        ValueError: there are no texts.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=[PADDING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    remaining = iter(texts)
    first = next(remaining, None)
    if first is None:
        raise ValueError("got no report to learn the vocabulary from; check that the training split has readable ones")
    with one_thread():
        tokenizer.train_from_iterator(_chain(first, remaining), trainer)
    return vocabulary_from(tokenizer.to_str())


def read_vocabulary(folder: Path) -> Tokenizer:
    """Read the tokenizer of a local Hugging Face folder, from ``tokenizer.json`` only.

    Raises:
        ValueError: the file is missing, or is not a tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"got folder {folder.name!r} without tokenizer.json; set `pretrained` to a local folder")
    try:
        return vocabulary_from(path.read_text(encoding="utf-8"))
    except Exception as error:
        raise ValueError(
            f"tokenizer.json of {folder.name!r} is not a tokenizer ({type(error).__name__}); set `pretrained`"
        ) from None


def vocabulary_from(stored: str) -> Tokenizer:
    """Rebuild a tokenizer from its JSON; text that spells a special token, such as ``[PAD]``, stays text."""
    tokenizer = Tokenizer.from_str(stored)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def table_rows(tokenizer: Tokenizer) -> int:
    """Return the number of rows of an embedding table: one more than the largest token number."""
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep tokenizers from starting threads, because it would warn in every worker forked later."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
