import json
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from polyclinic_report import Report
from polyclinic_report.huggingface import HuggingFaceEncoder

_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "No", "pleural", "effusion", ".", "There", "is", "a", "edema"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a tiny random BERT with its tokenizer, and refuse to open sockets."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(_WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    path = tmp_path / "tiny-bert"
    BertModel(config).save_pretrained(path)
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(_WORDS[:4])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=50)
    tokenizer.save(str(path / "tokenizer.json"))

    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return path


def _inputs(report: Report) -> dict[str, torch.Tensor]:
    report.fit(iter(()))
    texts = ("No pleural effusion.", "There is a pleural effusion. No edema.")
    return report.collate([report.prepare(report.read(text)) for text in texts])


def test_a_local_tokenizer_keeps_its_markers_but_not_its_limits(folder: Path) -> None:
    report = Report(pretrained=folder, max_tokens=8)
    inputs = _inputs(report)
    assert inputs["tokens"].tolist() == [[2, 4, 5, 6, 7, 3, 0, 0], [2, 8, 9, 10, 5, 6, 7, 3]]
    item = report.prepare(report.read("No effusion. No edema"))
    assert item["sentence"].tolist() == [-1, 0, 0, 0, 1, 1, -1]
    facts = report.describe(report.read("There is a pleural effusion. No edema."))
    assert (facts["tokens"], facts["truncated"]) == (9.0, 1.0)


def test_a_restored_report_needs_no_folder(folder: Path) -> None:
    report = Report(pretrained=folder)
    expected = _inputs(report)["tokens"]
    restored = Report(pretrained=folder.with_name("gone"))
    restored.load_state(json.loads(json.dumps(report.state())))
    assert restored.prepare(restored.read("No pleural effusion."))["tokens"].equal(expected[0, :6])
    rows = [p.shape[0] for n, p in restored.default_encoder("nano").named_parameters() if n == "tokenizer.embed.weight"]
    assert rows == [len(_WORDS)]


def test_the_pooled_vector_is_the_mean_over_real_tokens_of_the_saved_model(folder: Path) -> None:
    inputs = _inputs(Report(pretrained=folder))
    encoder = HuggingFaceEncoder(folder=folder).eval()
    encoded = encoder(inputs)
    model = BertModel.from_pretrained(folder).eval()
    for row, length in enumerate((6, 11)):
        alone = model(input_ids=inputs["tokens"][row : row + 1, :length]).last_hidden_state[0]
        torch.testing.assert_close(encoded.tokens[row, :length], alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoded.pooled[row], alone.mean(dim=0), atol=1e-5, rtol=1e-5)
    assert encoder.width == 16
    encoded.pooled.square().sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_lora_starts_from_the_model_and_trains_only_adapters(folder: Path) -> None:
    inputs = _inputs(Report(pretrained=folder))
    plain = HuggingFaceEncoder(folder=folder).eval()
    adapted = HuggingFaceEncoder(folder=folder, lora_rank=2, lora_targets=["query", "value"]).eval()
    torch.testing.assert_close(adapted(inputs).pooled, plain(inputs).pooled)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    # Two layers, query and value, each a 2 x 16 and a 16 x 2 matrix.
    assert sum(p.numel() for p in trained.values()) == 2 * 2 * 2 * 2 * 16
    adapted(inputs).pooled.square().sum().backward()
    assert all(p.grad is not None for p in trained.values())


def test_more_tokens_than_positions_are_refused_with_the_setting(folder: Path) -> None:
    inputs = {"tokens": torch.ones(1, 25, dtype=torch.int64), "padding": torch.zeros(1, 25, dtype=torch.bool)}
    with pytest.raises(ValueError, match="25 tokens, expected at most 24; set `max_tokens`"):
        HuggingFaceEncoder(folder=folder)(inputs)


def test_unusable_folders_are_refused_with_what_to_set(folder: Path) -> None:
    with pytest.raises(ValueError, match="not a folder; set `folder`"):
        HuggingFaceEncoder(folder=folder.with_name("gone"))
    with pytest.raises(ValueError, match="set `lora_rank`"):
        HuggingFaceEncoder(folder=folder, lora_rank=-1)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"without \*\.safetensors"):
        HuggingFaceEncoder(folder=folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"without config\.json"):
        HuggingFaceEncoder(folder=folder)


def test_code_in_the_folder_is_never_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        HuggingFaceEncoder(folder=folder)
    assert not (folder / "ran").exists()


def test_every_weight_of_the_folder_is_accounted_for(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "cls.predictions.bias": torch.zeros(3)}, path, metadata={"format": "pt"})
    encoder = HuggingFaceEncoder(folder=folder)
    account = encoder.account
    assert account is not None
    assert account.source == folder.name
    assert set(account.loaded) == set(encoder.backbone.state_dict())
    assert account.new == ()
    assert "cls.predictions.bias" in account.dropped
    assert set(account.dropped) <= {"cls.predictions.bias", "pooler.dense.weight", "pooler.dense.bias"}
    lacking = "encoder.layer.1.output.dense.weight"
    save_file({name: value for name, value in weights.items() if name != lacking}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="without 1 of the model's weights"):
        HuggingFaceEncoder(folder=folder)
