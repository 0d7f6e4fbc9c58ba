"""Whether a result can be written is checked before it is computed."""

import json
from pathlib import Path

import pytest

from polyclinic.files.results import refuse_unwritable, write_result
from readonly_folders import read_only


def test_a_result_is_written_with_its_parent_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "für" / "fit.json"
    refuse_unwritable(None)
    refuse_unwritable(path)
    assert list(tmp_path.iterdir()) == []
    write_result(path, {"a": 1})
    refuse_unwritable(path)
    write_result(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert list(path.parent.iterdir()) == [path]


def test_an_unwritable_result_is_refused_first_and_reported_later(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "file.json").write_text("before")
    for path, reason in ((folder, "a folder"), (folder / "file.json" / "a.json", "below the file 'file.json'")):
        with pytest.raises(
            ValueError, match=rf"^got '.*', {reason}, expected a file that can be written; set `--json`"
        ):
            refuse_unwritable(path)
    with read_only(folder):
        for path in (folder / "file.json", folder / "new.json", folder / "deep" / "new.json"):
            with pytest.raises(ValueError, match=r"without permission to write '(kept|file\.json)', expected a file"):
                refuse_unwritable(path)
            with pytest.raises(ValueError, match=rf"{path.name} could not be written .Permission denied"):
                write_result(path, {})
    assert (folder / "file.json").read_text() == "before"
