from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from polyclinic_report import Report

TEXTS = [
    "FINDINGS: Heart size normal.\nNo  effusion!\n\nIMPRESSION:\nNo acute disease.",
    "x/FINDINGS: ﬁbrosis of the Überlappung, \N{SNOWMAN} 3½ cm — (stable)\n- one\n- two",
    "plain",
    "\N{IDEOGRAPHIC SPACE}wide space and thin\N{THIN SPACE}space",
]


def fitted(**settings: int) -> Report:
    plugin = Report(**settings)
    plugin.fit(plugin.read(text) for text in TEXTS * 3)
    return plugin


@pytest.mark.parametrize("text", TEXTS)
def test_every_token_belongs_to_the_word_that_it_spells(text: str) -> None:
    plugin = fitted()
    raw = plugin.read(text)
    item, words = plugin.prepare(raw), plugin.view(raw).words
    assert "".join(words) == raw.text
    normalise = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]).normalize_str
    vocabulary = Tokenizer.from_str(plugin.state()["tokenizer"])
    spelled: dict[int, list[int]] = {}
    for place, token in enumerate(item["tokens"].tolist()):
        relevance = torch.zeros(len(item["tokens"])).index_fill(0, torch.tensor(place), 1.0)
        located = plugin.locate(raw, item, relevance).strength
        assert located.shape == (len(words),)
        assert located.sum() == 1
        spelled.setdefault(int(located.argmax()), []).append(token)
    assert list(spelled) == list(range(len(words)))
    for word, tokens in spelled.items():
        assert "".join(vocabulary.decode(tokens).split()) == "".join(normalise(words[word]).split())


def test_relevance_of_a_word_is_the_sum_over_its_tokens() -> None:
    plugin = fitted(vocabulary_size=300)
    raw = plugin.read("effusion no")
    item = plugin.prepare(raw)
    count = len(item["tokens"])
    located = plugin.locate(raw, item, torch.ones(count)).strength
    of_first = int((item["word"] == 0).sum())
    np.testing.assert_allclose(located, np.array([of_first, count - of_first]) / max(of_first, count - of_first))


def test_words_beyond_the_token_limit_have_no_relevance() -> None:
    plugin = fitted(max_tokens=6)
    raw = plugin.read("Heart size normal. " + "No effusion! " * 40)
    item, view = plugin.prepare(raw), plugin.view(raw)
    strength = plugin.locate(raw, item, torch.ones(len(item["tokens"]))).strength
    words_read = int(np.flatnonzero(strength).max()) + 1
    assert words_read < 7
    assert view.caption == f"complete report, 83 words, of which the model reads the first {words_read}"


def test_captions_name_the_section() -> None:
    plugin = Report(section="impression")
    assert plugin.view(plugin.read(TEXTS[0])).caption == "section impression, 3 words"
    assert plugin.view(plugin.read("plain")).caption == "complete report, because it lacks the section, 1 words"


def test_markers_are_not_words(tmp_path: Path) -> None:
    vocabulary = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "heart": 3}, unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=["[CLS]", "[SEP]", "[UNK]"]))
    vocabulary.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    vocabulary.save(str(tmp_path / "tokenizer.json"))
    plugin = Report(pretrained=tmp_path)
    plugin.fit([])
    raw = plugin.read("Heart size")
    item = plugin.prepare(raw)
    assert len(item["tokens"]) == 4
    assert plugin.locate(raw, item, torch.tensor([5.0, 0.0, 0.0, 5.0])).strength.tolist() == [0.0, 0.0]
    assert plugin.locate(raw, item, torch.tensor([5.0, 1.0, 4.0, 5.0])).strength.tolist() == [0.25, 1.0]


def test_another_number_of_tokens_is_refused() -> None:
    plugin = fitted()
    raw = plugin.read("plain")
    item = plugin.prepare(raw)
    with pytest.raises(ValueError, match="relevance of 2 tokens, expected 1"):
        plugin.locate(raw, item, torch.zeros(len(item["tokens"]) + 1))
