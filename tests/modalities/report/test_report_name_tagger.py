"""A local token classifier that finds names: wiring, positions, long texts, and refused folders."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification

from polyclinic.cli import main
from polyclinic.modality import Identity
from polyclinic_report import Report
from polyclinic_report.name_tagger import read_tagger

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "quarz", "##ow", "seen", "well", "by"]
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a classifier of two layers that marks only the token ``quarz``."""
    folder = tmp_path_factory.mktemp("ner") / "model"
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=24, id2label={0: "O", 1: "B-PER"}, label2id={"O": 0, "B-PER": 1},
    )  # fmt: skip
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        embeddings = model.bert.embeddings
        for norm in [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]:
            norm.weight.fill_(1)
        embeddings.word_embeddings.weight[:, 0], embeddings.word_embeddings.weight[4, 0] = -1, 1
        model.classifier.weight[1, 0] = 1
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_whole_words_are_found_in_texts_longer_than_the_model(folder: Path) -> None:
    tagger = read_tagger(folder)
    text = "seen quarzow well " + "well by seen " * 40 + "quarz, by quarz quarz ."
    assert [text[start:end] for start, end in tagger(text)] == ["quarzow", "quarz", "quarz quarz"]
    assert list(tagger("")) == []


def test_spans_marked_by_the_model_are_removed_from_a_report(folder: Path, tmp_path: Path) -> None:
    plugin = Report()
    assert plugin.use_name_tagger(folder)
    cleaned = plugin.deidentify("well quarz well", tmp_path / "abc", IDENTITY, suspects=False)
    assert (cleaned.source, cleaned.removed) == ("well ___ well", {"name by model": 1})


def test_the_command_uses_a_model_folder_and_refuses_a_missing_one_first(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("0123456789abcdef" * 2)
    (tmp_path / "key").chmod(0o600)
    rows = [{"id": str(place), "who": str(place), "part": "train", "text": "well quarz well"} for place in range(2)]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    spec = {"table": "table.csv", "study_id": "id", "patient_id": "who", "split": "part"}
    (tmp_path / "cohort.yaml").write_text(yaml.safe_dump({**spec, "modalities": {"report": {"text": "text"}}}))
    words = ["deidentify", str(tmp_path / "cohort.yaml"), str(tmp_path / "out"), "--key", str(tmp_path / "key")]
    assert main([*words, "--ner", str(tmp_path / "missing"), "--workers", "0"]) == 1
    assert "set `--ner` to a local model folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--ner", str(folder), "--workers", "0"]) == 0
    report = json.loads((tmp_path / "out/deidentified.json").read_text())
    assert report["removed"]["report"] == {"name by model": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tokenizer.json", "without tokenizer.json"),
        ("model.safetensors", r"without \*.safetensors"),
        ("config.json", "without config.json"),
        ("labels", "expected one of persons, such as PER"),
        ("weights", "not a token classifier"),
    ],
)
def test_a_folder_without_a_token_classifier_is_refused(
    folder: Path, tmp_path: Path, change: str, message: str
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    if change == "labels":
        config |= {"id2label": {"0": "O", "1": "LOC"}, "label2id": {"O": 0, "LOC": 1}}
    if change == "weights":
        config |= {"id2label": {"0": "O", "1": "B-PER", "2": "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if "." in change:
        (tmp_path / change).unlink()
    with pytest.raises(ValueError, match=message):
        read_tagger(tmp_path)
