"""The description of a run: its sections, its order, and what a person added."""

import math

from polyclinic.tracking.note import code, metric_list, picture_list, with_section


def test_sections_are_replaced_and_those_of_others_kept() -> None:
    note = with_section("", "", "Contrastive pretraining.")
    note = with_section(note, "Repeat", "fit")
    note = with_section(note, "Next", "evaluate")
    note = with_section(note, "Result", "0.5")
    note += "\n\n### My remarks\n\nlook at study 7"
    note = with_section(note, "Evaluation: card", "0.6")
    note = with_section(note, "Result", "0.75")
    note = with_section(note, "Next", "```\nexport\n```")
    assert note == (
        "Contrastive pretraining.\n\n### Result\n\n0.75\n\n### My remarks\n\nlook at study 7\n\n"
        "### Evaluation: card\n\n0.6\n\n### Next\n\n```\nexport\n```\n\n### Repeat\n\nfit"
    )
    assert with_section(note, "Result", "0.75") == note


def test_a_note_that_is_too_long_for_mlflow_loses_its_oldest_evaluations() -> None:
    note = with_section("asked", "Next", "evaluate")
    for number in range(20):
        note = with_section(note, f"Evaluation: {number}", "x" * 1000)
    assert len(note) <= 8000
    assert note.startswith("asked\n\n### Evaluation: 13\n")
    assert note.endswith("### Next\n\nevaluate")


def test_metrics_have_intervals_where_they_are_defined() -> None:
    nothing = (math.nan, math.nan)
    assert metric_list({}) == ""
    rows = {"test/auroc": (0.81234, (0.75, 0.9)), "test/loss": (2.0, nothing)}
    assert metric_list(rows) == "- `test/auroc`: **0.8123**, 95 % interval 0.75 to 0.9\n- `test/loss`: **2**"
    assert len(metric_list({str(number): (0.0, nothing) for number in range(30)}).splitlines()) == 12


def test_pictures_of_a_nested_folder_are_counted() -> None:
    names = ["curves.png", "similarity.png", "reconstruction/ecg/epoch0001.png", "reconstruction/ecg/epoch0002.png"]
    expected = "Pictures among the artifacts: `curves.png`, `similarity.png`, `reconstruction/ecg/` (2)."
    assert picture_list([*names, "curves.png"]) == expected
    assert picture_list([]) == ""


def test_names_are_shown_as_they_are() -> None:
    assert code("a_b*c`d") == "`a_b*c'd`"
