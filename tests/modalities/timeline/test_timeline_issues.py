"""Each kind of issue is found where it was planted, and phantoms have none."""

from pathlib import Path

import numpy as np
import pytest

from polyclinic.modality.physiology import Patient
from polyclinic_timeline import Timeline

HEAD = "time,code,value,unit,anchor\n"
END = ",2024-01-02T00:00\n"


def found(tmp_path: Path, *rows: str, timeline: Timeline | None = None) -> dict[str, str]:
    path = tmp_path / "a.csv"
    path.write_text(HEAD + "".join(f"{row}{END}" for row in rows))
    timeline = timeline or Timeline()
    return {issue.code: issue.message for issue in timeline.issues(path, timeline.read(path))}


@pytest.mark.parametrize(
    ("rows", "code", "count"),
    [
        (["2024-01-01,a,1,g", "2024-01-01,a,1,g", "2024-01-01,a,1.0,g"], "repeated-events", "2"),
        (["2024-01-01T10:00,a,1,g", "2024-01-01T09:00,a,2,g"], "out-of-order", "1"),
        (["2024-01-01T10:00,a,1,g", ",sex,F,"], "without-time", "1"),
        (["2024-01-03T10:00,a,1,g", "2024-01-01T09:00,a,2,g"], "after-the-study", "1"),
        (["2024-01-01T10:00,a,1,g", "2024-01-01T11:00,a,2,mg"], "mixed-units", "1"),
        (["2024-01-01T10:00,ph,71,"], "implausible", "1"),
        (["2024-01-01T10:00,note,DOE^JOHN,"], "identifiers", "name"),
    ],
)
def test_planted_issues_are_found_by_kind_and_number(tmp_path: Path, rows: list[str], code: str, count: str) -> None:
    issues = found(tmp_path, *rows, timeline=Timeline(plausible={"ph": [6.5, 8]}))
    assert code in issues
    assert issues[code].endswith(count)
    assert not any("DOE" in message or "71" in message for message in issues.values())


def test_a_unit_that_training_did_not_have_is_an_issue(tmp_path: Path) -> None:
    timeline = Timeline()
    (tmp_path / "t.csv").write_text(HEAD + f"2024-01-01,a,1,g{END}")
    timeline.fit([timeline.read(tmp_path / "t.csv")] * 2)
    assert found(tmp_path, "2024-01-01,a,1,stone", timeline=timeline).keys() == {"other-unit"}
    assert found(tmp_path, "2024-01-01,a,1,G", timeline=timeline) == {}


def test_phantoms_have_no_issue(tmp_path: Path) -> None:
    timeline = Timeline()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        path = timeline.phantom(Patient(rng).visit(rng), rng, tmp_path / f"s{seed}")
        assert list(timeline.issues(path, timeline.read(path))) == []
