"""Folders that get their final name once they are complete."""

from pathlib import Path

import pytest

from polyclinic.files.atomic import atomic_folder


def test_folders_of_the_same_name_below_missing_parents_do_not_disturb_each_other(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a" / "cohort") as first:
        (first / "one").write_text("1")
        with atomic_folder(tmp_path / "b" / "cohort") as second:
            (second / "two").write_text("2")
    assert (tmp_path / "a" / "cohort" / "one").read_text() == "1"
    assert (tmp_path / "b" / "cohort" / "two").read_text() == "2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_remains_of_a_killed_process_are_removed_and_long_parents_have_a_short_name(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["long" * 20] * 4, "cohort")
    (context := atomic_folder(path)).__enter__()
    (left,) = tmp_path.iterdir()
    (left / "half").touch()
    with atomic_folder(path) as folder:
        assert (folder, list(folder.iterdir())) == (left, [])
    assert path.is_dir()
    with pytest.raises(OSError, match="cohort"):
        context.__exit__(None, None, None)
