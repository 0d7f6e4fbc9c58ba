"""What two cohorts share, by patient and by content, and what of it harms."""

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


def _seen(cohort: Cohort) -> TrainingExposure:
    trained, selected = ([one.study_id for one in cohort.split(name)] for name in ("train", "val"))
    return TrainingExposure(cohorts=(cohort_exposure(cohort, PLUGINS, trained=trained, selected=selected),))


def _found(first: Path, second: Path, **chosen: Any) -> Overlap:
    return find_overlap(
        _seen(read_cohort(first)), read_cohort(second), PLUGINS, **{"tested": ["test"], "chosen": ["val"]} | chosen
    )


def test_patients_of_one_population_are_found_under_other_study_ids(tmp_path: Path) -> None:
    theirs = rows("a")
    ours = rows("b", 500)
    ours[-1] = ours[-1]._replace(patient=theirs[0].patient)
    ours[-8] = ours[-8]._replace(patient=theirs[1].patient)
    paths = [write(tmp_path / name, given, population="ward") for name, given in (("a", theirs), ("b", ours))]
    found = _found(*paths)
    assert found.shared == (ours[-8].study, ours[-1].study)
    assert (found.patients, found.patients_compared, found.studies) == (2, 12, 12)
    assert found.contents == {"first": 0, "second": 0}
    assert found.compared == {"first": 12, "second": 12}
    assert not found.unstated
    with pytest.raises(ValueError, match=r"2 of 12 studies of split val and test .* \(b28, b35\): 2 patients; "):
        found.refuse()


def test_a_content_is_found_under_other_ids_names_and_populations(tmp_path: Path) -> None:
    ours = rows("b", 500)
    ours[-1] = ours[-1]._replace(content=3)
    first = write(tmp_path / "a", rows("a"), population="ward")
    second = write(tmp_path / "b", ours, population="clinic", suffix=".copied")
    found = _found(first, second)
    assert found.shared == ("b35",)
    assert (found.patients, found.patients_compared) == (0, 0)
    assert found.contents == {"first": 1, "second": 1}
    assert found.incomparable == ()
    assert found.tags() == {
        "patients": "0", "contents": "2", "allowed": "false", "against": f"a {read_cohort(first).fingerprint[:8]}",
    }  # fmt: skip


def test_cohorts_without_a_common_study_share_nothing(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", rows("a")), write(tmp_path / "b", rows("b", 500))
    found = _found(first, second)
    assert found.shared == ()
    assert found.statements == ()
    found.refuse()
    assert found.tags()["patients"] == found.tags()["contents"] == "0"


def test_equal_ids_of_unnamed_populations_may_be_chance_and_of_two_named_ones_are(tmp_path: Path) -> None:
    theirs, ours = rows("a"), rows("a", 500, train=6, val=6, test=24)
    unnamed = _found(write(tmp_path / "1", theirs), write(tmp_path / "2", ours))
    assert unnamed.patients == 24
    assert unnamed.unstated
    with pytest.raises(ValueError, match="equal patient ids may be chance: if they are, set `population`"):
        unnamed.refuse()
    one, other = (write(tmp_path / name, given, population=name) for name, given in (("3", theirs), ("4", ours)))
    assert _found(one, other).shared == ()
    half = _found(one, tmp_path / "2" / "cohort.yaml")
    assert half.shared == ()
    assert half.patients_compared == 0
    assert half.tags()["patients"] == "unknown"
    assert half.tags()["contents"] == "0"
    assert "only one of the two cohorts states its population" in half.statements[0]


def test_what_chose_a_checkpoint_may_choose_again_and_not_test(tmp_path: Path) -> None:
    theirs = rows("a")
    changed = {"groups": ["part"]}
    again = write(tmp_path / "2", theirs, **changed)
    assert _found(write(tmp_path / "1", theirs), again).shared == ()
    moved = [row._replace(split={"val": "test", "test": "val"}.get(row.split, row.split)) for row in theirs]
    assert _found(tmp_path / "1" / "cohort.yaml", write(tmp_path / "3", moved)).patients == 6
    as_val = [row._replace(split="val") if row.content == 0 else row for row in theirs]
    assert _found(tmp_path / "1" / "cohort.yaml", write(tmp_path / "4", as_val)).shared == ("a0",)
    everyone = _found(tmp_path / "1" / "cohort.yaml", again, tested=["train"], chosen=[])
    assert everyone.patients == 24


def test_a_split_of_the_very_cohort_is_read_only_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "1", rows("a"))
    found = _found(path, path, tested=["train", "test"])
    assert found.shared == ()
    assert found.compared == {}
    assert found.tags()["against"].startswith("1 ")
    assert _found(path, path, tested=["train", "test"], within=True).patients == 24


@pytest.mark.parametrize(("suffix", "shared"), [(".txt", 0), (".pulse", 1)])
def test_a_text_of_two_patients_and_a_file_of_three_tell_of_none(tmp_path: Path, suffix: str, shared: int) -> None:
    theirs = rows("a")
    ours = rows("b", 500)
    # The same in a test study and in a training study of one cohort: a template, or one file twice.
    ours[0], ours[-1] = ours[0]._replace(content=5), ours[-1]._replace(content=5)
    first = write(tmp_path / "1", theirs, suffix=suffix)
    found = _found(first, write(tmp_path / "2", ours, suffix=suffix))
    assert found.contents == {"first": shared, "second": 0}
    for place in (24, 30):
        ours[place] = ours[place]._replace(content=5)
    assert _found(first, write(tmp_path / "3", ours, suffix=suffix)).contents["first"] == 0
    same = [row._replace(patient="one") if row.content == 5 else row for row in ours]
    same = [row._replace(split="test") if row.patient == "one" else row for row in same]
    assert _found(first, write(tmp_path / "4", same, suffix=suffix)).contents == {"first": 4, "second": 4}


def test_short_texts_small_files_and_cells_are_not_compared(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    path = write(folder, rows("a"))
    table = (folder / "table.csv").read_text().splitlines()
    header, cells = table[0].split(","), [line.split(",") for line in table[1:]]
    place = header.index("text")
    for line, length in zip(cells, (39, 40, 41), strict=False):
        line[place] = "x" * length
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
    """So that a checkpoint of today compares with a cohort of tomorrow."""
    cohort = read_cohort(write(tmp_path / "1", rows("ä"), population="Übersee"))
    keys = study_keys(cohort, PLUGINS, cohort.studies[:1])

    def first(content: bytes) -> int:
        return int(np.frombuffer(hashlib.sha256(content).digest()[:8], dtype=">i8")[0])

    assert keys.patients[0] == first(json.dumps(["Übersee", "Pä0"]).encode())
    assert keys.contents["first"][0] == first((tmp_path / "1" / "ä0.pulse").read_bytes())
    assert keys.contents["second"][0] == first(str(cohort.studies[0].sources["second"]).encode())


class _Twofold(Pulse):
    """The named file is a header; the measurement lies beside it."""

    def files(self, source: Any) -> tuple[Path, ...]:
        if source.stem == "a1":
            raise UnreadableSource("no header")
        return (source, source.with_suffix(".samples"))


def test_the_file_with_the_measurement_counts_and_a_broken_one_does_not(tmp_path: Path) -> None:
    path = write(tmp_path / "1", rows("a"))
    cohort = read_cohort(path)
    for study in cohort.studies[1:]:
        (tmp_path / "1" / f"{study.study_id}.samples").write_bytes(bytes(50) + study.study_id.encode())
    keys = study_keys(cohort, {"first": _Twofold()}, cohort.studies[:3])
    assert keys.contents["first"].tolist()[:2] == [0, 0]
    expected = hashlib.sha256((tmp_path / "1" / "a2.samples").read_bytes()).digest()[:8]
    assert keys.contents["first"][2] == int.from_bytes(expected, "big", signed=True)
    assert study_keys(cohort, {"first": None}, cohort.studies[:1]).contents["first"][0] != 0


def test_a_row_of_an_array_is_reported_from_another(tmp_path: Path) -> None:
    given = [Row("a", "p", "train", 0), Row("b", "q", "test", 0)]
    folder = tmp_path / "1"
    path = write(folder, given, modalities={"first": {"path": "file", "row": "sick"}})
    (folder / "all.npy").write_bytes(os.urandom(80))
    (folder / "table.csv").write_text("id,who,part,file,sick\na,p,train,all.npy,0\nb,q,test,all.npy,1\n")
    cohort = read_cohort(path)
    keys = study_keys(cohort, {"first": None}, cohort.studies).contents["first"]
    assert keys[0] != keys[1]
    assert 0 not in keys


def test_what_was_seen_travels_through_a_checkpoint_and_adds_up(tmp_path: Path) -> None:
    first, second = (read_cohort(write(tmp_path / name, rows(name, 100 * place))) for place, name in enumerate("ab"))
    seen = _seen(first).joined(_seen(second)).joined(TrainingExposure(unknown=("a folder",))).joined(_seen(first))
    torch.save(seen.state(), tmp_path / "seen.pt")
    back = TrainingExposure.of(torch.load(tmp_path / "seen.pt", weights_only=True))
    assert back.unknown == ("a folder",)
    assert [str(one) for one in back.cohorts] == [f"{name[:1]} {one.fingerprint[:8]}" for name, one in
                                                  (("a", first), ("b", second))]  # fmt: skip
    for one, cohort in zip(back.cohorts, (first, second), strict=True):
        (expected,) = _seen(cohort).cohorts
        for use, patients, contents in (("trained", 24, 48), ("selected", 6, 12)):
            assert len(getattr(one, use).patients) == patients
            assert len(getattr(one, use).contents) == contents
            np.testing.assert_array_equal(getattr(one, use).contents, getattr(expected, use).contents)
    halves = [_half(first, half) for half in (0, 1)]
    (merged,) = TrainingExposure(cohorts=(halves[0],)).joined(TrainingExposure(cohorts=(halves[1],))).cohorts
    np.testing.assert_array_equal(merged.trained.patients, back.cohorts[0].trained.patients)


def _half(cohort: Cohort, half: int) -> CohortExposure:
    trained = [one.study_id for one in cohort.split("train")[half::2]]
    return cohort_exposure(cohort, PLUGINS, trained=trained, selected=[])


def test_hashes_are_kept_in_the_folder_or_the_users_cache_or_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = read_cohort(write(tmp_path / "1", rows("a")))

    def first(folder: Path | None) -> list[int]:
        found: list[int] = study_keys(cohort, PLUGINS, cohort.studies, folder=folder).contents["first"].tolist()
        return found

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = first(None)
    assert not (tmp_path / "cache").exists()
    assert first(tmp_path / "prepared") == expected
    assert (tmp_path / "prepared" / "content.sqlite").is_file()
    monkeypatch.setattr(keys_module, "_MIN_CACHED_BYTES", 1)
    assert first(None) == expected
    assert (tmp_path / "cache" / "polyclinic" / "content.sqlite").is_file()
    # Neither a folder that cannot be made nor a user without a home stops anything.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "1" / "table.csv"))
    assert first(None) == expected
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert first(None) == expected
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "content.sqlite").write_bytes(b"no database" * 100)
    assert first(tmp_path / "damaged") == expected


def test_the_command_reports_two_cohorts_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ours = rows("b", 500)
    ours[-1] = ours[-1]._replace(content=3, patient="Pa7")
    write(Path("a"), rows("a"), population="ward")
    write(Path("b"), ours, population="ward")
    words = ["cohort", "overlap", "a/cohort.yaml", "b/cohort.yaml", "--json", "found.json"]
    assert main(words) == 1
    captured = capfd.readouterr()
    assert "1 of 6 studies are shared (first ['b35'])" in captured.err
    assert (
        "1 of 6 studies of split test were seen before (b35): 1 patient and equal contents, 1 of first, 1 of second"
        in captured.out
    )
    found = json.loads(Path("found.json").read_text())
    assert found["shared"] == ["b35"]
    assert found["contents"] == {"first": 1, "second": 1}
    assert "Pa7" not in Path("found.json").read_text() + captured.out + captured.err
    assert main([*words, "--second_splits", "[val]"]) == 0
    assert "next: polyclinic cohort check b/cohort.yaml" in capfd.readouterr().out
    assert main([*words, "--first_splits", "[test]"]) == 0
    assert main([*words, "--second_splits", "[dev]"]) == 1
    assert "got split 'dev'" in capfd.readouterr().err
    assert main(["cohort", "overlap", "a/table.csv", "b/cohort.yaml"]) == 1
    assert "table.csv is damaged or not a weights-only checkpoint" in capfd.readouterr().err


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
def test_a_patient_is_found_under_an_id_written_otherwise(
    tmp_path: Path, theirs: str, ours: str, rewritten: int | None
) -> None:
    first, second = rows("a"), rows("b", 500)
    first[0], second[-1] = first[0]._replace(patient=theirs), second[-1]._replace(patient=ours)
    seen = _seen(read_cohort(write(tmp_path / "a", first, population="ward")))
    cohort = read_cohort(write(tmp_path / "b", second, population="ward"))
    torch.save(seen.state(), tmp_path / "seen.pt")
    back = TrainingExposure.of(torch.load(tmp_path / "seen.pt", weights_only=True))
    for one in (seen, back, back.joined(seen)):
        found = find_overlap(one, cohort, PLUGINS, tested=["test"], chosen=["val"])
        assert found.shared == (() if rewritten is None else (second[-1].study,))
        assert (found.patients, found.rewritten) == ((0, 0) if rewritten is None else (1, rewritten))
        assert ("by an id that differs only in zeros" in " ".join(found.statements)) == bool(rewritten)


@pytest.mark.parametrize(("theirs", "shared"), [("00100", 1), ("100", 1), ("0100", 0)])
def test_a_record_without_canonical_keys_still_compares(tmp_path: Path, theirs: str, shared: int) -> None:
    first, second = rows("a"), rows("b", 500)
    first[0], second[-1] = first[0]._replace(patient=theirs), second[-1]._replace(patient="00100")
    state = _seen(read_cohort(write(tmp_path / "a", first, population="ward"))).state()
    for one in state["cohorts"]:
        for use in ("trained", "selected"):
            del one[use]["canonical"]
    cohort = read_cohort(write(tmp_path / "b", second, population="ward"))
    assert find_overlap(TrainingExposure.of(state), cohort, PLUGINS, tested=["test"]).patients == shared


def test_an_empty_split_shares_nothing(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", rows("a")), write(tmp_path / "b", rows("b", test=0))
    found = _found(first, second, chosen=[])
    assert (found.studies, found.shared, found.patients_compared) == (0, (), 0)
