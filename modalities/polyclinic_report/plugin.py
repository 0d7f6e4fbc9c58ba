"""The report modality: free text from files or from the cohort's table."""

from collections.abc import Iterable, Mapping, Sequence
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
    Cleaned,
    Deidentifiable,
    Explainable,
    Identity,
    Imputable,
    Inspectable,
    Issue,
    Item,
    Modality,
    OnWords,
    Physiology,
    Source,
    UnreadableSource,
    Viewable,
    Words,
    settings,
)
from polyclinic.nn import Encoder, Transformer, TransformerEncoder
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
from polyclinic_report.issues import report_issues
from polyclinic_report.phantom import write_phantom
from polyclinic_report.reading.document import Document, read_source
from polyclinic_report.reading.encodings import ENCODINGS, EncodingName
from polyclinic_report.reading.sections import choose_section, split_sentences
from polyclinic_report.tokens import HIDDEN, SubwordTokenizer
from polyclinic_report.vocabulary import SMALLEST, read_vocabulary, table_rows, train_vocabulary, vocabulary_from

_FEWEST_TOKENS = 4
_ENOUGH_TEXTS = 1000

_NEIGHBOURS = 5
"""Tokens that the encoder joins before attention: negation is a matter of neighbours."""


class Report(Modality, Imputable, Explainable, Viewable, Inspectable, Deidentifiable):
    """Free text, shown to the encoder as subword tokens that know their sentence.

    Args:
        section: which part to read, by its headings; a report without that part is read whole.
        vocabulary_size: largest vocabulary that ``fit`` trains, and rows of the default encoder's table.
        max_tokens: longer reports keep their start.
        pretrained: a local Hugging Face folder whose ``tokenizer.json`` is used instead of a trained vocabulary.
        encoding: of text files that are not UTF-8, a name of Python's such as ``cp1251``; None to detect it, where what
            cannot be distinguished for certain is unreadable.
        subset: probability that augmentation keeps only some of the sentences, so that the encoder also learns
            texts as short as a zero-shot prompt.
        token_dropout: share of the tokens that augmentation leaves out.

    Raises:
        ValueError: a size too small, a probability out of range, or an encoding that is not known.
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
        if vocabulary_size < SMALLEST:
            raise ValueError(f"got {vocabulary_size}, expected at least {SMALLEST}; set `vocabulary_size`")
        if max_tokens < _FEWEST_TOKENS:
            raise ValueError(f"got {max_tokens} tokens, expected at least {_FEWEST_TOKENS}; set `max_tokens`")
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
        """Decode a text file or take inline text, take it out of RTF, HTML, CDA or HL7, and choose the section."""
        text, encoding, markup = read_source(source, self.encoding)
        chosen = None if self.section == "all" else choose_section(text, self.section)
        found = "missing" if chosen is None and self.section != "all" else self.section
        body = (text if chosen is None else chosen).strip()
        if not any(character.isalnum() for character in body):
            raise UnreadableSource(f"no words in section {self.section!r}; set `section` where reports lack it")
        facts: dict[str, float | str] = {"encoding": encoding, "format": markup, "section": found}
        return Document(body, {**facts, "characters": float(len(body))})

    def describe(self, raw: Document) -> Mapping[str, float | str]:
        """Encoding, format, section found or missing, length; once fitted, tokens and 1.0 where some are cut off."""
        if self._vocabulary is None:
            return raw.facts
        tokens = self._encode(raw)[1]
        return {**raw.facts, "tokens": float(tokens), "truncated": float(tokens > self._room())}

    def issues(self, source: Source, raw: Document) -> Iterable[Issue]:
        """Identifiers, text that is cut off or damaged, a detected encoding, hardly any words."""
        return report_issues(source, raw, self.describe(raw), encoding=self.encoding)

    def names(self, source: Source) -> Iterable[str]:
        """Names that the text tells by a label."""
        return text_names(source, self.encoding)

    def use_name_tagger(self, folder: Path) -> bool:
        """Look for names by the token classifier of a local folder too.

        Raises:
            ValueError: it is not one.
        """
        tagger_of(folder)
        self._ner = folder.absolute()
        return True

    def deidentify(self, source: Source, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
        """Exchange names by header, context and model, and what has the shape of an identifier; dates move."""
        cleaned = write_clean_text(source, out, identity, suspects=suspects, encoding=self.encoding, ner=self._ner)
        self.read(cleaned.source)
        return cleaned

    def sample(self) -> int:
        """Texts for a vocabulary by which tokens are counted; one, left unread, where the vocabulary is given."""
        if self._vocabulary is not None:
            return 0
        return _ENOUGH_TEXTS if self.pretrained is None else 1

    def fit(self, raws: Iterable[Document]) -> None:
        """Train the vocabulary, or read that of ``pretrained``, which leaves ``raws`` unread."""
        if self.pretrained is not None:
            self._vocabulary = read_vocabulary(self.pretrained)
            return
        texts = (" ".join(split_sentences(raw.text)) for raw in raws)
        self._vocabulary = train_vocabulary(texts, self.vocabulary_size)

    def state(self) -> dict[str, Any]:
        """The tokenizer's JSON; empty before ``fit``."""
        return {} if self._vocabulary is None else {"tokenizer": self._vocabulary.to_str()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a vocabulary; the folder ``pretrained`` is not needed any more.

        Raises:
            ValueError: it has more entries than the default encoder's table.
        """
        vocabulary = vocabulary_from(state["tokenizer"]) if state else None
        if vocabulary is not None and self.pretrained is None and table_rows(vocabulary) > self.vocabulary_size:
            raise ValueError(
                f"got a vocabulary of {table_rows(vocabulary)}, expected at most {self.vocabulary_size}; "
                "set `vocabulary_size` as it was in training"
            )
        self._vocabulary = vocabulary

    def prepare(self, raw: Document) -> Item:
        """Tokenise to ``tokens`` [T], ``sentence`` [T] and ``word`` [T], which count from 0 and are -1 at markers.

        Raises:
            ValueError: there is no vocabulary yet.
        """
        marked = self._marked(raw)
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
        """Shuffle the sentences, keep a random part of them, never none, and leave out single tokens."""
        return vary_sentences(item, rng, subset=self.subset, token_dropout=self.token_dropout)

    def collate(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Pad to ``tokens`` [B, T] with zeros, say where in ``padding``, and number words anew in ``word``."""
        tokens = pad_sequence([item["tokens"] for item in items], batch_first=True)
        lengths = torch.tensor([len(item["tokens"]) for item in items])
        return {
            "tokens": tokens,
            "word": pad_sequence([_numbered(item["word"]) for item in items], batch_first=True, padding_value=OUTSIDE),
            "padding": torch.arange(tokens.shape[1])[None] >= lengths[:, None],
        }

    def draw(self, study: Item, axes: Axes) -> None:
        """Draw the beginning of the text, gaps where words are hidden."""
        draw_text(self._text(study["tokens"][~study["padding"]].tolist()), axes)

    def draw_relevance(self, study: Item, relevance: Float[Tensor, " T"], axes: Axes) -> None:
        """Draw the text, each word on a ground by the relevance of its tokens; markers are no words."""
        last, strength = word_relevance(study["word"], relevance)
        draw_words(self._words(study["tokens"].tolist(), last.tolist()), strength, axes)

    def view(self, raw: Document) -> Words:
        """The words as they were written, and how many of them the encoder reads."""
        read = None if self._vocabulary is None else 1 + int(self._words_of(raw, self._marked(raw)).max())
        return view_text(raw, read)

    def locate(self, raw: Document, item: Item, relevance: Float[Tensor, " T"]) -> OnWords:
        """Relevance of the words; those that were cut off have none."""
        marked = self._marked(raw)
        words = len(raw.text.split())
        return locate_words(relevance, self._words_of(raw, marked), [*map(bool, marked.special_tokens_mask)], words)

    def write_synthetic(self, study: Item, path: Path) -> Path:
        """Write the likeliest words; the file starts by saying that they are synthetic."""
        return write_text(self._text(study["tokens"].tolist()), path)

    def phantom(self, physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
        """Write a synthetic radiology and cardiology report as text."""
        return write_phantom(physiology, rng, path.with_suffix(".txt"))

    def default_encoder(self, size: str) -> Encoder:
        """Build the shared transformer over subwords."""
        trunk = Transformer.of_size(size, neighbours=_NEIGHBOURS)
        tokenizer = SubwordTokenizer(vocabulary_size=self._rows(), max_tokens=self.max_tokens, width=trunk.width)
        return TransformerEncoder(tokenizer=tokenizer, trunk=trunk)

    def portable(self) -> dict[str, Any]:
        """The settings without the folder, whose vocabulary is in the state."""
        return {**settings(self), "pretrained": None, "vocabulary_size": self._rows()}

    def _rows(self) -> int:
        """Fixed at construction, as the model may be built before the vocabulary is trained."""
        if self.pretrained is None:
            return self.vocabulary_size
        return table_rows(self._vocabulary or read_vocabulary(self.pretrained))

    def _fitted(self) -> Tokenizer:
        if self._vocabulary is None:
            raise ValueError("the report vocabulary is not fitted; call `fit` on the training split or `load_state`")
        return self._vocabulary

    def _text(self, tokens: Sequence[int]) -> str:
        """What tokens spell, a gap for each hidden stretch."""
        shown = [
            "____" if gap else self._fitted().decode(list(numbers))
            for gap, numbers in groupby(tokens, key=lambda token: token == HIDDEN)
        ]
        text = " ".join(part.strip() for part in shown)
        return _printable(text)

    def _words(self, tokens: Sequence[int], last: Sequence[int]) -> list[str]:
        """What the text gains by each word, of which the last token is given: the space ahead of it as well."""
        texts = ["", *(_printable(self._fitted().decode(list(tokens[: place + 1]))) for place in last)]
        return [text[len(before) :] for before, text in pairwise(texts)]

    def _marked(self, raw: Document) -> Encoding:
        """The tokens that fit, with the vocabulary's markers."""
        encoding, _ = self._encode(raw)
        encoding.truncate(self._room())
        return self._fitted().post_process(encoding, None, True)

    def _words_of(self, raw: Document, marked: Encoding) -> Int[np.ndarray, " T"]:
        """The word as it was written that each token is of; 0 at markers."""
        joined = " ".join(split_sentences(raw.text))
        return words_of_tokens(raw.text, joined, [max(1, end) for _, end in marked.offsets])

    def _encode(self, raw: Document) -> tuple[Encoding, int]:
        """All tokens without markers, and their number."""
        encoding = self._fitted().encode(" ".join(split_sentences(raw.text)), add_special_tokens=False)
        return encoding, len(encoding)

    def _room(self) -> int:
        """Tokens that fit beside the vocabulary's markers."""
        return self.max_tokens - self._fitted().num_special_tokens_to_add(False)


def _printable(text: str) -> str:
    """A model may predict single bytes that are no letter."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _numbered(word: Int[Tensor, " T"]) -> Int[Tensor, " T"]:
    """Words numbered in the order in which they stand; markers stay what they are."""
    starts = torch.cat([word[:1] != OUTSIDE, word[1:] != word[:-1]])
    return (starts.cumsum(0) - 1).clamp_min(0).masked_fill(word == OUTSIDE, OUTSIDE)
