"""Find names in text with a token classifier of transformers, from a local folder only."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Encoding, Tokenizer
from transformers import AutoModelForTokenClassification

from polyclinic_report.huggingface import refuse_unusable
from polyclinic_report.vocabulary import one_thread

_PERSON = re.compile(
    r"(?:[BILUES][-_])?(?:PER|PERS|PERSON|PERSONS?|NAME|(?:[A-Z]+[_-]?)?NAME|PATIENT|DOCTOR|STAFF|HCW|PHYSICIAN)",
    re.IGNORECASE,
)
_MAX_WINDOW, _BATCH_SIZE = 512, 8
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")  # noqa: RUF001


class NameTagger:
    """A search for names in text of any length, which is read in windows that overlap by a quarter.

    Args:
        model: token classifier.
        tokenizer: tokenizer of the model.
        labels: indices of the labels of persons.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, labels: Sequence[int]) -> None:
        self._model, self._tokenizer, self._labels = model.eval(), tokenizer, torch.tensor(labels)
        positions = int(getattr(model.config, "max_position_embeddings", 0) or _MAX_WINDOW)
        # Some architectures number positions from one after the padding token.
        self._window = min(_MAX_WINDOW, positions - 1 - int(model.config.pad_token_id or 0))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._window, stride=self._window // 4)

    def __call__(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of each run of words with a marked token."""
        with one_thread():
            encoded = self._tokenizer.encode(text)
        windows = [encoded, *encoded.overflowing]
        marked = bytearray(len(text))
        for start in range(0, len(windows), _BATCH_SIZE):
            for first, last in self._marked(windows[start : start + _BATCH_SIZE]):
                marked[first:last] = b"\1" * (last - first)
        places = [word.span() for word in _WORD.finditer(text) if any(marked[word.start() : word.end()])]
        start = end = -1
        for first, last in places:
            if end >= 0 and re.fullmatch(r"[ \t\u00a0.,]{1,2}", text[end:first]):
                end = last
                continue
            if end >= 0:
                yield start, end
            start, end = first, last
        if end >= 0:
            yield start, end

    def _marked(self, windows: Sequence[Encoding]) -> Iterator[tuple[int, int]]:
        """Yield start and end of the marked tokens, without special tokens."""
        longest = max(len(window.ids) for window in windows)
        padding = int(self._model.config.pad_token_id or 0)
        tokens = torch.full((len(windows), longest), padding)
        mask = torch.zeros(len(windows), longest, dtype=torch.long)
        for row, window in enumerate(windows):
            tokens[row, : len(window.ids)] = torch.tensor(window.ids)
            mask[row, : len(window.ids)] = 1
        with torch.inference_mode():
            best = self._model(input_ids=tokens, attention_mask=mask).logits.argmax(-1)
        for row, window in enumerate(windows):
            for label, offsets in zip(best[row].tolist(), window.offsets, strict=False):
                if label in self._labels and offsets[1] > offsets[0]:
                    yield offsets


@lru_cache(maxsize=1)
def read_tagger(folder: Path) -> NameTagger:
    """Read a token classifier: ``config.json``, ``*.safetensors`` and ``tokenizer.json``; no code in it is run.

    Raises:
        ValueError: the folder, a file or a weight is missing, or no label marks persons.
    """
    refuse_unusable(folder, setting="--ner")
    if not (folder / "tokenizer.json").is_file():
        raise ValueError(f"got folder {folder.name!r} without tokenizer.json; set `--ner` to a local model folder")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model, info = AutoModelForTokenClassification.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:
        raise ValueError(
            f"folder {folder.name!r} is not a token classifier that transformers reads ({type(error).__name__}); set "
            "`--ner` to a local model folder"
        ) from None
    if missing := sorted(map(str, {*info["missing_keys"], *info["mismatched_keys"]})):
        raise ValueError(
            f"got folder {folder.name!r} without {len(missing)} of the classifier's weights (first {missing[0]!r}), "
            "expected all of them; set `--ner`"
        )
    names = {int(number): str(name) for number, name in model.config.id2label.items()}
    labels = [number for number, name in names.items() if _PERSON.fullmatch(name)]
    if not labels:
        raise ValueError(f"got labels {sorted(names.values())[:5]}, expected one of persons, such as PER; set `--ner`")
    return NameTagger(model, tokenizer, labels)
