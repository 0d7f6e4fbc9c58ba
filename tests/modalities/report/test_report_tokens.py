from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from polyclinic.modality import Item
from polyclinic.modality.physiology import Patient
from polyclinic_report import Report
from polyclinic_report.phantom import compose_report
from polyclinic_report.reading.sections import split_sentences

_TEXTS = [
    compose_report(Patient(rng).visit(rng), rng) for rng in (np.random.default_rng([7, seed]) for seed in range(80))
]


def _fitted(texts: list[str] = _TEXTS, *, max_tokens: int = 256, token_dropout: float = 0.05) -> Report:
    report = Report(vocabulary_size=700, max_tokens=max_tokens, token_dropout=token_dropout)
    report.fit(report.read(text) for text in texts)
    return report


def _words(report: Report, tokens: torch.Tensor) -> str:
    return Tokenizer.from_str(report.state()["tokenizer"]).decode(tokens.tolist()).strip()


def test_fits_in_any_order_learn_the_same_vocabulary() -> None:
    assert _fitted().state() == _fitted().state() == _fitted(_TEXTS[::-1]).state()
    assert _fitted().state() != _fitted(_TEXTS[:40]).state()


def test_preparing_before_fit_is_refused_with_what_to_call() -> None:
    report = Report()
    document = report.read("Clear.")
    assert "tokens" not in report.describe(document)
    with pytest.raises(ValueError, match="not fitted; call `fit`"):
        report.prepare(document)
    with pytest.raises(ValueError, match="training split"):
        report.fit(iter(()))


def test_an_unseen_word_keeps_its_letters() -> None:
    report = _fitted()
    text = "pneumomediastinum 37,5 °c [pad] 🫀"
    tokens = report.prepare(report.read(text))["tokens"]
    assert _words(report, tokens) == text
    assert (tokens > 0).all()


def test_text_that_spells_the_padding_token_is_not_padding() -> None:
    report = _fitted()
    assert (report.prepare(report.read("effusion [PAD] edema"))["tokens"] != 0).all()


def test_each_token_belongs_to_its_sentence() -> None:
    report = _fitted()
    for text in _TEXTS[:20]:
        item = report.prepare(report.read(text))
        sentences = [sentence.lower() for sentence in split_sentences(text)]
        parts = [_words(report, item["tokens"][item["sentence"] == index]) for index in range(len(sentences))]
        assert parts == sentences


def test_long_reports_are_truncated_at_the_end_and_counted() -> None:
    short, long = _fitted(max_tokens=90), _fitted()
    lengths = [len(long.prepare(long.read(text))["tokens"]) for text in _TEXTS]
    facts = [short.describe(short.read(text)) for text in _TEXTS]
    assert [fact["tokens"] for fact in facts] == lengths
    share = np.mean([float(fact["truncated"]) for fact in facts])
    assert 0.05 < share < 0.95
    assert share == np.mean([length > 90 for length in lengths])
    for text in _TEXTS[:20]:
        tokens = long.prepare(long.read(text))["tokens"]
        assert short.prepare(short.read(text))["tokens"].equal(tokens[:90])


def test_augmentation_shuffles_complete_sentences_and_drops_some() -> None:
    report = _fitted(token_dropout=0.0)
    item = report.prepare(report.read(_TEXTS[0]))
    sentences = _sentences(item)
    counts, orders = [], set()
    for seed in range(300):
        varied = _sentences(report.augment(item, np.random.default_rng(seed)))
        assert set(varied) <= set(sentences)
        assert len(set(varied)) == len(varied)
        counts.append(len(varied))
        orders.add(tuple(varied))
    assert {1, len(sentences)} <= set(counts)
    # All sentences with probability 0.3 + 0.7 / S, a single one with 0.7 / S; three standard errors of 300 draws.
    share = 0.7 / len(sentences)
    assert abs(np.mean(np.array(counts) == 1) - share) < 3 * np.sqrt(share * (1 - share) / 300)
    assert abs(np.mean(np.array(counts) == len(sentences)) - 0.3 - share) < 3 * np.sqrt((0.3 + share) * 0.7 / 300)
    assert len(orders) > 200


def test_token_dropout_drops_its_share_but_never_all_tokens() -> None:
    report = Report(subset=0.0, token_dropout=0.25)
    item = {"tokens": torch.arange(1, 2001), "sentence": torch.zeros(2000, dtype=torch.int64)}
    varied = report.augment(item, np.random.default_rng(0))["tokens"]
    assert 0.22 < 1 - len(varied) / 2000 < 0.28
    assert varied.equal(varied.sort().values)
    prompt = {"tokens": torch.tensor([5]), "sentence": torch.tensor([0])}
    harsh = Report(token_dropout=0.99)
    assert all(harsh.augment(prompt, np.random.default_rng(seed))["tokens"].tolist() == [5] for seed in range(20))


def test_markers_of_a_vocabulary_stay_around_the_sentences() -> None:
    item = {"tokens": torch.tensor([2, 10, 11, 20, 21, 3]), "sentence": torch.tensor([-1, 0, 0, 1, 1, -1])}
    variants = {
        tuple(Report(token_dropout=0.0).augment(item, np.random.default_rng(seed))["tokens"].tolist())
        for seed in range(60)
    }
    assert variants == {(2, 10, 11, 20, 21, 3), (2, 20, 21, 10, 11, 3), (2, 10, 11, 3), (2, 20, 21, 3)}


def test_a_prompt_is_one_sentence_and_padded_beside_a_report() -> None:
    report = _fitted()
    prompt, full_report = (report.prepare(report.read(text)) for text in ("No pleural effusion.", _TEXTS[0]))
    batch = report.collate([prompt, full_report])
    assert batch["tokens"].shape == batch["padding"].shape
    assert batch["padding"].dtype == torch.bool
    assert (~batch["padding"]).sum(dim=1).tolist() == [len(prompt["tokens"]), len(full_report["tokens"])]
    assert (batch["tokens"][batch["padding"]] == 0).all()
    assert set(prompt["sentence"].tolist()) == {0}


def test_a_vocabulary_larger_than_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="set `vocabulary_size`"):
        Report(vocabulary_size=300).load_state(_fitted().state())


def test_a_folder_without_a_tokenizer_is_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set `pretrained`"):
        Report(pretrained=tmp_path).fit(iter(()))


@pytest.mark.parametrize(
    ("setting", "value"), [("vocabulary_size", 299), ("max_tokens", 3), ("subset", 1.1), ("token_dropout", 1.0)]
)
def test_a_setting_out_of_range_is_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"got.*{value}.*expected.*`{setting}`"):
        Report(**{setting: value})  # type: ignore[arg-type]


def _sentences(item: Item) -> list[tuple[int, ...]]:
    """Split the tokens where the sentence index changes."""
    edges = np.flatnonzero(np.diff(item["sentence"].numpy())) + 1
    return [tuple(run.tolist()) for run in np.split(item["tokens"].numpy(), edges)]
