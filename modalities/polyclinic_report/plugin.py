"""Report modality: free text from files or from the cohort's table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from polyclinic.modality import (
    BaselineFeatures,
    Cleaned,
    Identity,
    Issue,
    Item,
    Modality,
    OnWords,
    Physiology,
    Source,
    UnreadableSource,
    Words,
    settings,
)
from polyclinic.nn import Encoder, FixedFeatures, Transformer, TransformerEncoder
from polyclinic_report.augment import OUTSIDE, vary_sentences
from polyclinic_report.deidentify import tagger_of, text_names, write_clean_text
from polyclinic_report.drawing import (
    draw_text,
    draw_words,
    locate_words,
    view_text,
    word_relevance,
    words_of_tokens,
    write_text,
)
from polyclinic_report.features import NgramFeatures
from polyclinic_report.issues import report_issues
from polyclinic_report.phantom import write_phantom
from polyclinic_report.reading.document import Document, read_source
from polyclinic_report.reading.encodings import ENCODINGS, EncodingName
from polyclinic_report.reading.sections import choose_section, split_sentences
from polyclinic_report.tokens import HIDDEN, SubwordTokenizer
from polyclinic_report.vocabulary import (
    MIN_VOCABULARY_SIZE,
    read_vocabulary,
    table_rows,
    train_vocabulary,
    vocabulary_from,
)

_MIN_TOKENS = 4
_SAMPLE_SIZE = 1000

_NEIGHBOURS = 5
"""Tokens that the encoder mixes before attention, because negation depends on neighbouring words."""


class Report(Modality):
    """Free text as subword tokens with sentence and word indices.

    Args:
        section: section to read, by its headings; a report without it is read completely.
        vocabulary_size: maximal vocabulary that ``fit`` trains, and rows of the default encoder's table.
        max_tokens: maximal number of tokens; longer reports are truncated at the end.
        pretrained: local Hugging Face folder whose ``tokenizer.json`` replaces a trained vocabulary.
        encoding: Python name of the encoding of files that are not UTF-8, such as ``cp1251``; None to detect it, in
            which case ambiguous files are unreadable.
        subset: probability that augmentation drops sentences, so that the encoder also learns texts as
            short as a zero-shot prompt.
        token_dropout: share of tokens that augmentation drops.

    Raises:
        ValueError: a size is too small, a probability out of range, or the encoding unknown.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".rtf", ".html", ".htm", ".hl7", ".xml")
    title: ClassVar[str] = "Report"
    encoders: ClassVar[tuple[str, ...]] = ("polyclinic_report.huggingface.HuggingFaceEncoder",)

    def __init__(
        self,
        *,
        section: Literal["findings", "impression", "all"] = "all",
        vocabulary_size: int = 2000,
        max_tokens: int = 128,
        pretrained: Path | None = None,
        encoding: EncodingName | None = None,
        subset: float = 0.7,
        token_dropout: float = 0.05,
    ) -> None:
        if section not in ("findings", "impression", "all"):
            raise ValueError(f"got section {section!r}, expected findings, impression or all; set `section`")
        if vocabulary_size < MIN_VOCABULARY_SIZE:
            raise ValueError(f"got {vocabulary_size}, expected at least {MIN_VOCABULARY_SIZE}; set `vocabulary_size`")
        if max_tokens < _MIN_TOKENS:
            raise ValueError(f"got {max_tokens} tokens, expected at least {_MIN_TOKENS}; set `max_tokens`")
        if encoding is not None and encoding not in ENCODINGS:
            raise ValueError(f"got encoding {encoding!r}, expected one of {', '.join(ENCODINGS)}; set `encoding`")
        if not (0 <= subset <= 1 and 0 <= token_dropout < 1):
            raise ValueError(
                f"got subset {subset} and token_dropout {token_dropout}, expected shares from 0 to 1; "
                "set `subset` and `token_dropout`"
            )
        self.section, self.vocabulary_size, self.max_tokens = section, vocabulary_size, max_tokens
        self.pretrained, self.subset, self.token_dropout = pretrained, subset, token_dropout
        self.encoding = encoding
        self._vocabulary: Tokenizer | None = None
        self._ner: Path | None = None

    def read(self, source: Source) -> Document:
        """Decode a text file or inline text, extract it from RTF, HTML, CDA or HL7, and choose the section."""
        text, encoding, markup = read_source(source, self.encoding)
        chosen = None if self.section == "all" else choose_section(text, self.section)
        status = "missing" if chosen is None and self.section != "all" else self.section
        body = (text if chosen is None else chosen).strip()
        if not any(character.isalnum() for character in body):
            raise UnreadableSource(f"no words in section {self.section!r}; set `section` where reports lack it")
        facts: dict[str, float | str] = {"encoding": encoding, "format": markup, "section": status}
        return Document(body, {**facts, "characters": float(len(body))})

    def describe(self, raw: Document) -> Mapping[str, float | str]:
        """Return encoding, format, section and length; after ``fit`` also tokens, and 1.0 if some are cut off."""
        if self._vocabulary is None:
            return raw.facts
        tokens = self._encode(raw)[1]
        return {**raw.facts, "tokens": float(tokens), "truncated": float(tokens > self._room())}

    def issues(self, source: Source, raw: Document) -> Iterable[Issue]:
        """Report identifiers, truncated or damaged text, a detected encoding, and reports of very few words."""
        return report_issues(source, raw, self.describe(raw), encoding=self.encoding)

    def names(self, source: Source) -> Iterable[str]:
        """Return names of persons that follow a label in the text."""
        return text_names(source, self.encoding)

    def use_name_tagger(self, folder: Path) -> bool:
        """Also find names with the token classifier of a local folder.

        Raises:
            ValueError: the folder does not hold a token classifier.
        """
        tagger_of(folder)
        self._ner = folder.absolute()
        return True

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Replace names, found by header, context and model, and identifiers, found by shape; shift dates."""
        cleaned = write_clean_text(source, out, identity, suspects=suspects, encoding=self.encoding, ner=self._ner)
        self.read(cleaned.source)
        return cleaned

    def sample(self) -> int:
        """Return the number of texts from which a vocabulary for counting tokens is trained.

        It is 0 after ``fit``, and 1 with ``pretrained``, whose vocabulary is read from a file.
        """
        if self._vocabulary is not None:
            return 0
        return _SAMPLE_SIZE if self.pretrained is None else 1

    def fit(self, raws: Iterable[Document]) -> None:
        """Train the vocabulary, or read that of ``pretrained`` without iterating over ``raws``."""
        if self.pretrained is not None:
            self._vocabulary = read_vocabulary(self.pretrained)
            return
        texts = (" ".join(split_sentences(raw.text)) for raw in raws)
        self._vocabulary = train_vocabulary(texts, self.vocabulary_size)

    def state(self) -> dict[str, Any]:
        """Return the JSON of the tokenizer; empty before ``fit``."""
        return {} if self._vocabulary is None else {"tokenizer": self._vocabulary.to_str()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore a vocabulary; the folder ``pretrained`` is no longer needed.

        Raises:
            ValueError: the vocabulary has more entries than the table of the default encoder.
        """
        vocabulary = vocabulary_from(state["tokenizer"]) if state else None
        if vocabulary is not None and self.pretrained is None and table_rows(vocabulary) > self.vocabulary_size:
            raise ValueError(
                f"got a vocabulary of {table_rows(vocabulary)}, expected at most {self.vocabulary_size}; "
                "set `vocabulary_size` as it was in training"
            )
        self._vocabulary = vocabulary

    def prepare(self, raw: Document) -> Item:
        """Tokenise to ``tokens`` [T], with indices ``sentence`` [T] and ``word`` [T], which are -1 at markers.

        Raises:
            ValueError: the plugin was not fitted.
        """
        marked = self._with_markers(raw)
        ends = np.cumsum([len(sentence) + 1 for sentence in split_sentences(raw.text)]) - 1
        last = np.array([end - 1 for _, end in marked.offsets])
        sentence = np.minimum(np.searchsorted(ends, last, side="right"), len(ends) - 1)
        sentence[np.array(marked.special_tokens_mask, dtype=bool)] = OUTSIDE
        word = [OUTSIDE if number is None else number for number in marked.word_ids]
        return {
            "tokens": torch.tensor(marked.ids),
            "sentence": torch.from_numpy(sentence),
            "word": torch.tensor(word),
        }

    def augment(self, item: Item, rng: np.random.Generator) -> Item:
        """Shuffle the sentences, drop sentences except at least one, and drop single tokens."""
        return vary_sentences(item, rng, subset=self.subset, token_dropout=self.token_dropout)

    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Pad ``tokens`` with zeros to [B, T], mark them in ``padding``, and renumber words in ``word``."""
        tokens = pad_sequence([item["tokens"] for item in items], batch_first=True)
        lengths = torch.tensor([len(item["tokens"]) for item in items])
        return {
            "tokens": tokens,
            "word": pad_sequence([_numbered(item["word"]) for item in items], batch_first=True, padding_value=OUTSIDE),
            "padding": torch.arange(tokens.shape[1])[None] >= lengths[:, None],
        }

    def baseline(self) -> BaselineFeatures:
        """Return the TF-IDF of words and pairs of words."""
        return BaselineFeatures(name="TF-IDF of words and pairs of words", learn=_tfidf)

    def fixed_features(self) -> FixedFeatures:
        """Build the TF-IDF of the n-grams of tokens."""
        return NgramFeatures()

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw the beginning of the text, with gaps for hidden words."""
        draw_text(self._text(study["tokens"][~study["padding"]].tolist()), axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw the text, each word on a background by the relevance of its tokens."""
        last, strength = word_relevance(study["word"], relevance)
        draw_words(self._words(study["tokens"].tolist(), last.tolist()), strength, axes)

    def view(self, raw: Document) -> Words:
        """Return the words as written, and the number of those that the encoder reads."""
        word_count = None if self._vocabulary is None else 1 + int(self._words_of(raw, self._with_markers(raw)).max())
        return view_text(raw, word_count)

    def locate(self, raw: Document, item: Item, relevance: Float[Tensor, " T"]) -> OnWords:
        """Return the relevance of the words, which is zero for those that were cut off."""
        marked = self._with_markers(raw)
        words = len(raw.text.split())
        return locate_words(relevance, self._words_of(raw, marked), [*map(bool, marked.special_tokens_mask)], words)

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write the most probable words, after a warning that they are synthetic."""
        return write_text(self._text(study["tokens"].tolist()), path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write a synthetic report of radiology and cardiology as text."""
        return write_phantom(physiology, rng, path.with_suffix(".txt"))

    def default_encoder(self, size: str) -> Encoder:
        """Build a transformer over subwords."""
        trunk = Transformer.of_size(size, neighbours=_NEIGHBOURS)
        tokenizer = SubwordTokenizer(vocabulary_size=self._rows(), max_tokens=self.max_tokens, width=trunk.width)
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    def portable(self) -> dict[str, Any]:
        """Return the settings without the folder, because its vocabulary is in the state."""
        return {**settings(self), "pretrained": None, "vocabulary_size": self._rows()}

    def _rows(self) -> int:
        """Return the number of table rows, fixed at construction because the model may be built before ``fit``."""
        if self.pretrained is None:
            return self.vocabulary_size
        return table_rows(self._vocabulary or read_vocabulary(self.pretrained))

    def _fitted(self) -> Tokenizer:
        if self._vocabulary is None:
            raise ValueError("the report vocabulary is not fitted; call `fit` on the training split or `load_state`")
        return self._vocabulary

    def _text(self, tokens: Sequence[int]) -> str:
        """Decode tokens, with a gap for each run of hidden ones."""
        shown = [
            "____" if gap else self._fitted().decode(list(numbers))
            for gap, numbers in groupby(tokens, key=lambda token: token == HIDDEN)
        ]
        text = " ".join(part.strip() for part in shown)
        return _printable(text)

    def _words(self, tokens: Sequence[int], last: Sequence[int]) -> list[str]:
        """Return the words that end at the given tokens, with their leading spaces."""
        texts = ["", *(_printable(self._fitted().decode(list(tokens[: place + 1]))) for place in last)]
        return [text[len(before) :] for before, text in pairwise(texts)]

    def _with_markers(self, raw: Document) -> Encoding:
        """Encode the tokens that fit, with the markers of the vocabulary."""
        encoding, _ = self._encode(raw)
        encoding.truncate(self._room())
        return self._fitted().post_process(encoding, None, True)

    def _words_of(self, raw: Document, marked: Encoding) -> Int[np.ndarray, " T"]:
        """Return the index of the written word of each token; 0 at markers."""
        joined = " ".join(split_sentences(raw.text))
        return words_of_tokens(raw.text, joined, [max(1, end) for _, end in marked.offsets])

    def _encode(self, raw: Document) -> tuple[Encoding, int]:
        """Encode all tokens without markers, and return their number as well."""
        encoding = self._fitted().encode(" ".join(split_sentences(raw.text)), add_special_tokens=False)
        return encoding, len(encoding)

    def _room(self) -> int:
        """Return the number of tokens that fit beside the markers of the vocabulary."""
        return self.max_tokens - self._fitted().num_special_tokens_to_add(False)


def _tfidf(raws: Sequence[Document]) -> Callable[[Sequence[Document]], Any]:
    # Imported here, because a service does not need it.
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=min(2, len(raws)), sublinear_tf=True)
    vectorizer.fit([raw.text for raw in raws])
    return lambda given: vectorizer.transform([raw.text for raw in given])


def _printable(text: str) -> str:
    """Replace characters that cannot be printed; a model may predict bytes that are not text."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _numbered(word: Int[Tensor, " T"]) -> Int[Tensor, " T"]:
    """Renumber words in the order of the text; markers keep their number."""
    starts = torch.cat([word[:1] != OUTSIDE, word[1:] != word[:-1]])
    return (starts.cumsum(0) - 1).clamp_min(0).masked_fill(word == OUTSIDE, OUTSIDE)
