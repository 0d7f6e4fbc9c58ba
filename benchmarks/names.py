"""Names in running text without a header: how many of 300 written sentences' names go, and what else goes with them.

The sentences are invented, in English, German, French and Spanish; rules were developed on 100 others of the same file.
Whoever wrote the sentences wrote the rules too, so that the figures are those of familiar wording. ``POLYCLINIC_NER``
names the folder of a local model, with which both figures are measured again.
"""

import os
import re
from itertools import chain
from pathlib import Path

from benchmarks.measure import Figure
from polyclinic.privacy.text import Tagger, found_spans
from polyclinic_report.name_tagger import read_tagger

COMMAND = "python -m benchmarks names"
SENTENCES = Path(__file__).with_name("names.tsv")
_MARK, _WORD = re.compile(r"\[\[(.*?)\]\]"), re.compile(r"[^\W\d_]+")


def measure() -> list[Figure]:
    """Recall over names, each found when no word of it stays; precision over the words that go as names."""
    figures = _figures("", None)
    if folder := os.environ.get("POLYCLINIC_NER"):
        figures += _figures("_with_model", read_tagger(Path(folder)))
    return figures


def _figures(suffix: str, tagger: Tagger | None) -> list[Figure]:
    names = found = removed = right = 0
    for sentence in sentences("test"):
        text, marked = _unmarked(sentence)
        spans = [span for span in found_spans(text, tagger=tagger) if "name" in span.kind]
        gone = set(chain.from_iterable(range(span.start, span.end) for span in spans))
        words = {word.start() for word in _WORD.finditer(text)}
        names += len(marked)
        found += sum(words & set(range(*place)) <= gone for place in marked)
        removed += len(words & gone)
        right += len(words & gone & set(chain.from_iterable(range(*place) for place in marked)))
    shares = {"names_recall": found / names, "names_precision": right / max(removed, 1)}
    return [
        Figure(name=f"deidentify.{name}{suffix}", value=share, unit="share", command=COMMAND)
        for name, share in shares.items()
    ]


def sentences(split: str) -> list[str]:
    """The marked sentences of ``development`` or ``test``."""
    rows = [line.split("\t") for line in SENTENCES.read_text(encoding="utf-8").splitlines()[1:]]
    return [sentence for name, _, sentence in rows if name == split]


def _unmarked(sentence: str) -> tuple[str, list[tuple[int, int]]]:
    """A sentence without marks, and where its names stand."""
    text, places, last = "", list[tuple[int, int]](), 0
    for mark in _MARK.finditer(sentence):
        text += sentence[last : mark.start()]
        places.append((len(text), len(text) + len(mark[1])))
        text, last = text + mark[1], mark.end()
    return text + sentence[last:], places
