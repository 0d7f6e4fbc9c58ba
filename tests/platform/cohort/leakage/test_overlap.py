"""Overlap of two cohorts by patient and by content, and what of it is leakage."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from overlapping_cohorts import Row, rows, write
from polyclinic.cli import main
from polyclinic.cohort import Cohort, read_cohort
from polyclinic.cohort.leakage import fingerprints as keys_module
from polyclinic.cohort.leakage.fingerprints import study_keys
from polyclinic.cohort.leakage.overlap import CohortExposure, Overlap, TrainingExposure, cohort_exposure, find_overlap
from polyclinic.modality import Modality, UnreadableSource
from pulse_plugin import Pulse

PLUGINS: dict[str, Modality | None] = {"first": Pulse(), "second": Pulse()}


def _exposure(cohort: Cohort) -> TrainingExposure:
    trained, selected = ([study.study_id for study in cohort.split(name)] for name in ("train", "val"))
    return TrainingExposure(cohorts=(cohort_exposure(cohort, PLUGINS, trained=trained, selected=selected),))


def _overlap(first: Path, second: Path, **chosen: Any) -> Overlap:
    return find_overlap(
        _exposure(read_cohort(first)), read_cohort(second), PLUGINS, **{"tested": ["test"], "chosen": ["val"]} | chosen
    )


def test_patients_of_one_population_are_matched_under_other_study_ids(tmp_path: Path) -> None:
    first_rows = rows("a")
    second_rows = rows("b", 500)
    second_rows[-1] = second_rows[-1]._replace(patient=first_rows[0].patient)
    second_rows[-8] = second_rows[-8]._replace(patient=first_rows[1].patient)
    paths = [
        write(tmp_path / name, table, population="ward") for name, table in (("a", first_rows), ("b", second_rows))
    ]
    overlap = _overlap(*paths)
    assert overlap.shared == (second_rows[-8].study, second_rows[-1].study)
    assert (overlap.patients, overlap.patients_compared, overlap.studies) == (2, 12, 12)
    assert overlap.contents == {"first": 0, "second": 0}
    assert overlap.compared == {"first": 12, "second": 12}
    assert not overlap.unstated
    with pytest.raises(ValueError, match=r"2 of 12 studies of split val and test .* \(b28, b35\): 2 patients; "):
        overlap.refuse()


def test_content_is_matched_under_other_ids_names_and_populations(tmp_path: Path) -> None:
    second_rows = rows("b", 500)
    second_rows[-1] = second_rows[-1]._replace(content=3)
    first = write(tmp_path / "a", rows("a"), population="ward")
    second = write(tmp_path / "b", second_rows, population="clinic", suffix=".copied")
    overlap = _overlap(first, second)
    assert overlap.shared == ("b35",)
    assert (overlap.patients, overlap.patients_compared) == (0, 0)
    assert overlap.contents == {"first": 1, "second": 1}
    assert overlap.incomparable == ()
    assert (overlap.allowed, overlap.against) == (False, (f"a {read_cohort(first).fingerprint[:8]}",))


def test_cohorts_without_a_common_study_share_nothing(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", rows("a")), write(tmp_path / "b", rows("b", 500))
    overlap = _overlap(first, second)
    assert overlap.shared == ()
    assert overlap.statements == ()
    overlap.refuse()
    assert (overlap.patients, set(overlap.contents.values())) == (0, {0})


def test_equal_ids_may_be_chance_in_unnamed_populations_and_are_not_compared_across_named_ones(tmp_path: Path) -> None:
    first_rows, second_rows = rows("a"), rows("a", 500, train=6, val=6, test=24)
    unnamed = _overlap(write(tmp_path / "1", first_rows), write(tmp_path / "2", second_rows))
    assert unnamed.patients == 24
    assert unnamed.unstated
    with pytest.raises(ValueError, match="equal patient ids may be chance: if they are, set `population`"):
        unnamed.refuse()
    first, second = (
        write(tmp_path / name, table, population=name) for name, table in (("3", first_rows), ("4", second_rows))
    )
    assert _overlap(first, second).shared == ()
    half = _overlap(first, tmp_path / "2" / "cohort.yaml")
    assert half.shared == ()
    assert half.patients_compared == 0
    assert half.patients == 0
    assert half.incomparable
    assert set(half.contents.values()) == {0}
    assert "only one of the two cohorts states its population" in half.statements[0]


def test_studies_that_selected_a_checkpoint_may_select_again_but_not_test(tmp_path: Path) -> None:
    first_rows = rows("a")
    changed = {"groups": ["part"]}
    changed_path = write(tmp_path / "2", first_rows, **changed)
    assert _overlap(write(tmp_path / "1", first_rows), changed_path).shared == ()
    swapped = [row._replace(split={"val": "test", "test": "val"}.get(row.split, row.split)) for row in first_rows]
    assert _overlap(tmp_path / "1" / "cohort.yaml", write(tmp_path / "3", swapped)).patients == 6
    as_val = [row._replace(split="val") if row.content == 0 else row for row in first_rows]
    assert _overlap(tmp_path / "1" / "cohort.yaml", write(tmp_path / "4", as_val)).shared == ("a0",)
    everyone = _overlap(tmp_path / "1" / "cohort.yaml", changed_path, tested=["train"], chosen=[])
    assert everyone.patients == 24


def test_splits_within_a_cohort_are_compared_only_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "1", rows("a"))
    overlap = _overlap(path, path, tested=["train", "test"])
    assert overlap.shared == ()
    assert overlap.compared == {}
    assert overlap.against[0].startswith("1 ")
    assert _overlap(path, path, tested=["train", "test"], within=True).patients == 24


@pytest.mark.parametrize(("suffix", "shared"), [(".txt", 0), (".pulse", 1)])
def test_a_text_of_two_patients_or_a_file_of_three_identifies_nobody(tmp_path: Path, suffix: str, shared: int) -> None:
    first_rows = rows("a")
    second_rows = rows("b", 500)
    # A test and a training study of one cohort share this content: a template, or one file twice.
    second_rows[0], second_rows[-1] = second_rows[0]._replace(content=5), second_rows[-1]._replace(content=5)
    first = write(tmp_path / "1", first_rows, suffix=suffix)
    overlap = _overlap(first, write(tmp_path / "2", second_rows, suffix=suffix))
    assert overlap.contents == {"first": shared, "second": 0}
    for index in (24, 30):
        second_rows[index] = second_rows[index]._replace(content=5)
    assert _overlap(first, write(tmp_path / "3", second_rows, suffix=suffix)).contents["first"] == 0
    same = [row._replace(patient="one") if row.content == 5 else row for row in second_rows]
    same = [row._replace(split="test") if row.patient == "one" else row for row in same]
    assert _overlap(first, write(tmp_path / "4", same, suffix=suffix)).contents == {"first": 4, "second": 4}


def test_short_texts_small_files_and_cells_are_not_compared(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    path = write(folder, rows("a"))
    table = (folder / "table.csv").read_text().splitlines()
    header, cells = table[0].split(","), [line.split(",") for line in table[1:]]
    column = header.index("text")
    for line, length in zip(cells, (39, 40, 41), strict=False):
        line[column] = "x" * length
    (folder / "table.csv").write_text("\n".join([",".join(header), *(",".join(line) for line in cells)]))
    for row, length in zip(rows("a"), (39, 40, 41), strict=False):
        (folder / f"{row.study}.pulse").write_text("y" * length)
    cohort = read_cohort(path)
    keys = study_keys(cohort, PLUGINS, cohort.studies[:3])
    for name in ("first", "second"):
        assert keys.contents[name][0] == 0
        assert (keys.contents[name][1:] != 0).all()
    text = path.read_text().replace("text: text", "columns: [text]")
    path.write_text(text)
    cohort = read_cohort(path)
    assert not study_keys(cohort, PLUGINS, cohort.studies).contents["second"].any()


def test_keys_are_the_first_eight_bytes_of_the_hashes(tmp_path: Path) -> None:
    """They stay fixed, so that a checkpoint of today can be compared with a cohort of tomorrow."""
    cohort = read_cohort(write(tmp_path / "1", rows("ä"), population="Übersee"))
    keys = study_keys(cohort, PLUGINS, cohort.studies[:1])

    def first(content: bytes) -> int:
        return int(np.frombuffer(hashlib.sha256(content).digest()[:8], dtype=">i8")[0])

    assert keys.patients[0] == first(json.dumps(["Übersee", "Pä0"]).encode())
    assert keys.contents["first"][0] == first((tmp_path / "1" / "ä0.pulse").read_bytes())
    assert keys.contents["second"][0] == first(str(cohort.studies[0].sources["second"]).encode())


class _HeaderWithSamples(Pulse):
    """Reads a header that is named by the cohort; the measurement is in a file beside it."""

    def files(self, source: Any) -> tuple[Path, ...]:
        if source.stem == "a1":
            raise UnreadableSource("no header")
        return (source, source.with_suffix(".samples"))


def test_the_file_with_the_measurement_is_compared_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "1", rows("a"))
    cohort = read_cohort(path)
    for study in cohort.studies[1:]:
        (tmp_path / "1" / f"{study.study_id}.samples").write_bytes(bytes(50) + study.study_id.encode())
    keys = study_keys(cohort, {"first": _HeaderWithSamples()}, cohort.studies[:3])
    assert keys.contents["first"].tolist()[:2] == [0, 0]
    expected = hashlib.sha256((tmp_path / "1" / "a2.samples").read_bytes()).digest()[:8]
    assert keys.contents["first"][2] == int.from_bytes(expected, "big", signed=True)
    assert study_keys(cohort, {"first": None}, cohort.studies[:1]).contents["first"][0] != 0


def test_rows_of_an_array_have_different_content_keys(tmp_path: Path) -> None:
    table = [Row("a", "p", "train", 0), Row("b", "q", "test", 0)]
    folder = tmp_path / "1"
    path = write(folder, table, modalities={"first": {"path": "file", "row": "sick"}})
    (folder / "all.npy").write_bytes(os.urandom(80))
    (folder / "table.csv").write_text("id,who,part,file,sick\na,p,train,all.npy,0\nb,q,test,all.npy,1\n")
    cohort = read_cohort(path)
    keys = study_keys(cohort, {"first": None}, cohort.studies).contents["first"]
    assert keys[0] != keys[1]
    assert 0 not in keys


def test_training_exposure_is_carried_by_checkpoints_and_accumulates(tmp_path: Path) -> None:
    first, second = (read_cohort(write(tmp_path / name, rows(name, 100 * number))) for number, name in enumerate("ab"))
    exposure = (
        _exposure(first)
        .joined(_exposure(second))
        .joined(TrainingExposure(unknown=("a folder",)))
        .joined(_exposure(first))
    )
    torch.save(exposure.state(), tmp_path / "seen.pt")
    back = TrainingExposure.of(torch.load(tmp_path / "seen.pt", weights_only=True))
    assert back.unknown == ("a folder",)
    assert [str(cohort) for cohort in back.cohorts] == [f"{name[:1]} {cohort.fingerprint[:8]}" for name, cohort in
                                                  (("a", first), ("b", second))]  # fmt: skip
    for restored, cohort in zip(back.cohorts, (first, second), strict=True):
        (expected,) = _exposure(cohort).cohorts
        for use, patients, contents in (("trained", 24, 48), ("selected", 6, 12)):
            assert len(getattr(restored, use).patients) == patients
            assert len(getattr(restored, use).contents) == contents
            np.testing.assert_array_equal(getattr(restored, use).contents, getattr(expected, use).contents)
    halves = [_half_exposure(first, half) for half in (0, 1)]
    (merged,) = TrainingExposure(cohorts=(halves[0],)).joined(TrainingExposure(cohorts=(halves[1],))).cohorts
    np.testing.assert_array_equal(merged.trained.patients, back.cohorts[0].trained.patients)


def _half_exposure(cohort: Cohort, half: int) -> CohortExposure:
    trained = [study.study_id for study in cohort.split("train")[half::2]]
    return cohort_exposure(cohort, PLUGINS, trained=trained, selected=[])


def test_hashes_are_stored_in_the_folder_or_the_users_cache_or_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = read_cohort(write(tmp_path / "1", rows("a")))

    def first(folder: Path | None) -> list[int]:
        keys: list[int] = study_keys(cohort, PLUGINS, cohort.studies, folder=folder).contents["first"].tolist()
        return keys

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = first(None)
    assert not (tmp_path / "cache").exists()
    assert first(tmp_path / "prepared") == expected
    assert (tmp_path / "prepared" / "content.sqlite").is_file()
    monkeypatch.setattr(keys_module, "_MIN_CACHED_BYTES", 1)
    assert first(None) == expected
    assert (tmp_path / "cache" / "polyclinic" / "content.sqlite").is_file()
    # Neither a folder that cannot be made nor a user without a home folder stops the comparison.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "1" / "table.csv"))
    assert first(None) == expected
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert first(None) == expected
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "content.sqlite").write_bytes(b"no database" * 100)
    assert first(tmp_path / "damaged") == expected


def test_the_command_reports_the_overlap_of_two_cohorts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    second_rows = rows("b", 500)
    second_rows[-1] = second_rows[-1]._replace(content=3, patient="Pa7")
    write(Path("a"), rows("a"), population="ward")
    write(Path("b"), second_rows, population="ward")
    words = ["cohort", "overlap", "a/cohort.yaml", "b/cohort.yaml", "--json", "found.json"]
    assert main(words) == 1
    captured = capfd.readouterr()
    assert "1 of 6 studies are shared (first ['b35'])" in captured.err
    assert (
        "1 of 6 studies of split test were seen before (b35): 1 patient and equal contents, 1 of first, 1 of second"
        in captured.out
    )
    report = json.loads(Path("found.json").read_text())
    assert report["shared"] == ["b35"]
    assert report["contents"] == {"first": 1, "second": 1}
    assert "Pa7" not in Path("found.json").read_text() + captured.out + captured.err
    assert main([*words, "--second_splits", "[val]"]) == 0
    assert "next: polyclinic cohort check b/cohort.yaml" in capfd.readouterr().out
    assert main([*words, "--first_splits", "[test]"]) == 0
    assert main([*words, "--second_splits", "[dev]"]) == 1
    assert "got split 'dev'" in capfd.readouterr().err
    assert main(["cohort", "overlap", "a/table.csv", "b/cohort.yaml"]) == 1
    assert "got 'table.csv', which is a table, expected a checkpoint" in capfd.readouterr().err


@pytest.mark.public_report(15)
@pytest.mark.parametrize(
    ("theirs", "ours", "rewritten"),
    [
        ("00100", "100", 1), ("100", "00100", 1), ("100.0", "00100", 1), ("00100", "00100", 0),
        ("100", "\uff11\uff10\uff10", 1), ("100", "\u0661\u0660\u0660", 1), ("100", "\u200b100", 1),
        ("ab-7", "AB-7", 1), ("Mc  1", "mc 1", 1), ("000", "0.0", 1), ("'0100", "100", 1), ("100", "1001", None),
        ("100", "100.5", None),
        ("aB3", "ab3", None), ("1e2", "100", None),
    ],
)  # fmt: skip
def test_a_patient_is_matched_under_another_spelling_of_the_id(
    tmp_path: Path, theirs: str, ours: str, rewritten: int | None
) -> None:
    first, second = rows("a"), rows("b", 500)
    first[0], second[-1] = first[0]._replace(patient=theirs), second[-1]._replace(patient=ours)
    exposure = _exposure(read_cohort(write(tmp_path / "a", first, population="ward")))
    cohort = read_cohort(write(tmp_path / "b", second, population="ward"))
    torch.save(exposure.state(), tmp_path / "seen.pt")
    back = TrainingExposure.of(torch.load(tmp_path / "seen.pt", weights_only=True))
    for compared in (exposure, back, back.joined(exposure)):
        overlap = find_overlap(compared, cohort, PLUGINS, tested=["test"], chosen=["val"])
        assert overlap.shared == (() if rewritten is None else (second[-1].study,))
        assert (overlap.patients, overlap.rewritten) == ((0, 0) if rewritten is None else (1, rewritten))
        assert ("by an id that differs only in zeros" in " ".join(overlap.statements)) == bool(rewritten)


@pytest.mark.parametrize(("theirs", "shared"), [("00100", 1), ("100", 1), ("0100", 0)])
def test_a_record_without_canonical_keys_can_still_be_compared(tmp_path: Path, theirs: str, shared: int) -> None:
    first, second = rows("a"), rows("b", 500)
    first[0], second[-1] = first[0]._replace(patient=theirs), second[-1]._replace(patient="00100")
    state = _exposure(read_cohort(write(tmp_path / "a", first, population="ward"))).state()
    for entry in state["cohorts"]:
        for use in ("trained", "selected"):
            del entry[use]["canonical"]
    cohort = read_cohort(write(tmp_path / "b", second, population="ward"))
    assert find_overlap(TrainingExposure.of(state), cohort, PLUGINS, tested=["test"]).patients == shared


def test_an_empty_split_shares_nothing(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", rows("a")), write(tmp_path / "b", rows("b", test=0))
    overlap = _overlap(first, second, chosen=[])
    assert (overlap.studies, overlap.shared, overlap.patients_compared) == (0, (), 0)
