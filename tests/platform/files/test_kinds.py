"""What a path holds is recognised by its content, for messages where another kind is expected."""

from pathlib import Path

import pytest

from polyclinic.files.kinds import BUNDLE, CHECKPOINT, COHORT, CONFIGURATION, PROMPTS, kind_of, refuse_other_kind

FILES = {
    "cohort.yaml": ("table: a.csv\nstudy_id: id\n", COHORT),
    "prompts.yml": ("version: 1\nscore_rule: softmax\nfindings: {}\n", PROMPTS),
    "config.yaml": ("data: {cohort: a}\n", CONFIGURATION),
    "crossval.json": ('{"checkpoints": []}', "a report of `polyclinic crossval`"),
    "best.ckpt": ("", CHECKPOINT),
    "studies.csv": ("a\n", "a table"),
    "space.yaml": ("model.init_args.lr: {low: 1, high: 2}\n", ""),
    "tab.yaml": ("table: a\n\tstudy_id: b\n", ""),
    "list.yaml": ("- table\n- study_id\n", ""),
    "notes.txt": ("table: a\nstudy_id: b\n", ""),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, (text, _) in FILES.items():
        (tmp_path / name).write_text(text)
    for name in ("bundle", "empty"):
        (tmp_path / name).mkdir()
    for name in ("bundle.json", "SHA256SUMS"):
        (tmp_path / "bundle" / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_recognised_by_its_keys_or_its_name(folder: Path, name: str) -> None:
    assert kind_of(folder / name) == FILES[name][1]


def test_folders_are_recognised(folder: Path) -> None:
    assert kind_of(folder / "bundle") == BUNDLE
    assert kind_of(folder / "empty") == "a folder"
    assert kind_of(folder) == "a folder with a cohort.yaml"
    assert kind_of(folder / "bundle" / "bundle.json") == "a file of a bundle, not its folder"
    assert kind_of(folder / "nowhere") == ""


def test_a_path_of_another_kind_is_refused(folder: Path) -> None:
    for name, kind in (("cohort.yaml", COHORT), ("notes.txt", COHORT), ("nowhere", BUNDLE), ("empty", BUNDLE)):
        refuse_other_kind(folder / name, kind, "name one")
    with pytest.raises(ValueError, match=r"^got 'cohort.yaml', which is a cohort file, expected a bundle; name one$"):
        refuse_other_kind(folder / "cohort.yaml", BUNDLE, "name one")
    with pytest.raises(ValueError, match=r"^got 'empty', which is a folder, expected a cohort file; name one$"):
        refuse_other_kind(folder / "empty", COHORT, "name one")
