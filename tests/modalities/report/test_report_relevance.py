from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from polyclinic_report import Report
from polyclinic_report.drawing import word_relevance

TEXT = "No effusion. Heart 3.5 cm (mild): x-ray of the 2nd day; pneumothorax not seen."


def fitted(*texts: str) -> Report:
    report = Report(vocabulary_size=320, max_tokens=1000)
    report.fit(report.read(text) for text in texts)
    return report


def study_of(report: Report, text: str) -> dict[str, torch.Tensor]:
    return {name: value[0] for name, value in report.collate([report.prepare(report.read(text))]).items()}


def drawn(report: Report, study: dict[str, torch.Tensor], relevance: torch.Tensor) -> list[Text]:
    """Draw the relevance and return its pieces of text in reading order."""
    figure = Figure(figsize=(5, 4))
    axes = figure.subplots()
    report.draw_relevance(study, relevance, axes)
    FigureCanvasAgg(figure).draw()
    (box,) = axes.artists
    return [piece for piece in box.findobj(Text) if piece.get_text()]


def opacity(piece: Text) -> float:
    patch = piece.get_bbox_patch()
    return 0.0 if patch is None else patch.get_facecolor()[3]


def test_the_relevance_of_a_word_sums_over_its_tokens() -> None:
    word = torch.tensor([-1, 0, 0, 0, 1, 2, 2, -1])
    last, strength = word_relevance(word, torch.tensor([9.0, 1.0, 2.0, 1.0, 0.5, 0.0, 2.0, 9.0]))
    assert last.tolist() == [3, 4, 6]
    np.testing.assert_allclose(strength, [1, 0.125, 0.5])
    assert not word_relevance(word, torch.zeros(8))[1].any()


def test_subwords_are_joined_and_spaces_stay_in_place() -> None:
    report = fitted("unrelated words")
    study = study_of(report, TEXT)
    pieces = drawn(report, study, torch.rand(len(study["tokens"])))
    assert len(study["tokens"]) > 40, "the case is meant to fall apart into bytes"
    lines: dict[int, str] = {}
    for piece in pieces:
        row = round(piece.get_window_extent().y0 / 8)
        lines[row] = lines.get(row, "") + piece.get_text()
    assert "pneumothorax" in [piece.get_text() for piece in pieces]
    assert " ".join(lines.values()) == TEXT.lower()


def test_the_word_of_relevant_tokens_is_highlighted() -> None:
    report = fitted("unrelated words")
    study = study_of(report, TEXT)
    number = TEXT.lower().replace(".", " .").split().index("effusion")
    pieces = drawn(report, study, (study["word"] == number).float())
    assert [piece.get_text() for piece in pieces if opacity(piece) > 0] == ["effusion"]


def test_markers_and_padding_are_not_drawn_and_do_not_dim_words() -> None:
    report = fitted("unrelated words")
    items = [report.prepare(report.read(text)) for text in ("no effusion", TEXT)]
    study = {name: value[0] for name, value in report.collate(items).items()}
    relevance = torch.where(study["padding"], 100.0, 1.0)
    pieces = drawn(report, study, relevance)
    assert [piece.get_text() for piece in pieces if piece.get_text().strip()] == ["no", "effusion"]
    assert max(map(opacity, pieces)) == pytest.approx(0.7)


def test_vocabularies_with_markers_and_without_spaces_are_drawn_too(tmp_path: Path) -> None:
    entries = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "no": 4, "eff": 5, "##usion": 6, ".": 7}
    tokenizer = Tokenizer(models.WordPiece(entries, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    report = Report(pretrained=tmp_path, max_tokens=32)
    report.fit([])
    study = study_of(report, "No effusion.")
    assert study["word"].tolist() == [-1, 0, 1, 1, 2, -1]
    pieces = drawn(report, study, torch.tensor([100.0, 1.0, 1.0, 1.0, 0.0, 100.0]))
    assert [piece.get_text() for piece in pieces] == ["no", " ", "effusion", "."]
    assert [opacity(piece) for piece in pieces] == pytest.approx([0.35, 0.0, 0.7, 0.0])


def test_the_relevant_lines_of_a_long_text_are_shown() -> None:
    sentences = " ".join(f"finding number {number} is not seen in this study." for number in range(60))
    report = fitted(sentences)
    study = study_of(report, sentences)
    last = int(study["word"].max())
    pieces = drawn(report, study, (study["word"] >= last - 3).float())
    assert len(study["tokens"]) > 500
    texts = [piece.get_text() for piece in pieces]
    assert texts.count("...") == 1
    assert texts[-4:] == ["this", " ", "study", "."]


def test_text_without_spaces_is_broken_into_lines() -> None:
    report = fitted("unrelated words")
    study = study_of(report, "a1" * 150)
    pieces = drawn(report, study, torch.rand(len(study["tokens"])))
    assert "".join(piece.get_text() for piece in pieces) == "a1" * 150
    assert len({round(piece.get_window_extent().y0) for piece in pieces}) > 3


def test_a_report_with_only_markers_gives_an_empty_picture() -> None:
    report = fitted("unrelated words")
    study = study_of(report, TEXT)
    axes = Figure().subplots()
    report.draw_relevance({**study, "word": torch.full_like(study["word"], -1)}, study["word"].float().abs(), axes)
    assert not axes.artists


def test_dollar_signs_are_not_drawn_as_formulas() -> None:
    report = fitted("unrelated words")
    study = study_of(report, "it costs $$ and $^{")
    pieces = drawn(report, study, torch.ones(len(study["tokens"])))
    assert "".join(piece.get_text() for piece in pieces) == "it costs $$ and $^{"


def test_another_number_of_tokens_is_refused() -> None:
    report = fitted("unrelated words")
    study = study_of(report, TEXT)
    with pytest.raises(ValueError, match="3 tokens, expected"):
        report.draw_relevance(study, torch.ones(3), Figure().subplots())
