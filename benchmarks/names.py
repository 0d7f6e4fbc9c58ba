"""Recall and precision of name removal in 300 sentences of running text without a header.

The sentences are invented, in English, German, French and Spanish. The rules were developed on 100 other sentences of
the same file. The author of the sentences also wrote the rules, so the figures hold for familiar wording. If
``POLYCLINIC_NER`` names the folder of a local model, both figures are also measured with it.
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
    """Measure recall over names, which count if all their words are removed, and precision over removed words."""
    figures = _figures("", None)
    if folder := os.environ.get("POLYCLINIC_NER"):
        figures += _figures("_with_model", read_tagger(Path(folder)))
    return figures


def _figures(suffix: str, tagger: Tagger | None) -> list[Figure]:
    names = hits = removed = right = 0
    for sentence in sentences("test"):
        text, marked = _unmarked(sentence)
        spans = [span for span in found_spans(text, tagger=tagger) if "name" in span.kind]
        removed_positions = set(chain.from_iterable(range(span.start, span.end) for span in spans))
        words = {word.start() for word in _WORD.finditer(text)}
        names += len(marked)
        hits += sum(words & set(range(*place)) <= removed_positions for place in marked)
        removed += len(words & removed_positions)
        right += len(words & removed_positions & set(chain.from_iterable(range(*place) for place in marked)))
    shares = {"names_recall": hits / names, "names_precision": right / max(removed, 1)}
    return [
        Figure(name=f"deidentify.{name}{suffix}", value=share, unit="share", command=COMMAND)
        for name, share in shares.items()
    ]


def sentences(split: str) -> list[str]:
    """Return the marked sentences of the ``development`` or ``test`` split."""
    rows = [line.split("\t") for line in SENTENCES.read_text(encoding="utf-8").splitlines()[1:]]
    return [sentence for name, _, sentence in rows if name == split]


def _unmarked(sentence: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a sentence without marks, and the positions of its names."""
    text, places, last = "", list[tuple[int, int]](), 0
    for mark in _MARK.finditer(sentence):
        text += sentence[last : mark.start()]
        places.append((len(text), len(text) + len(mark[1])))
        text, last = text + mark[1], mark.end()
    return text + sentence[last:], places
