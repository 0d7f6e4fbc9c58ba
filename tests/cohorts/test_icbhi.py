"""ICBHI 2017 as it lies on disk, as a cohort."""

from hashlib import sha256
from pathlib import Path

import pytest

from layouts.built import build
from layouts.icbhi import RECORDINGS, write_icbhi
from polyclinic.cli import main
from polyclinic_audio import Audio

FOLDER = "ICBHI_final_database"
SPLIT = "ICBHI_challenge_train_test.txt"
DEMOGRAPHIC = "ICBHI_Challenge_demographic_information.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_icbhi(tmp_path / "icbhi")
    return tmp_path / "icbhi"


def _labels(root: Path, out: Path) -> dict[str, dict[str, float]]:
    cohort = build("icbhi", root, out).cohort
    return {study.study_id: dict(zip(cohort.labels, study.labels, strict=True)) for study in cohort.studies}


def test_a_recording_has_every_sound_that_any_of_its_cycles_has(root: Path, tmp_path: Path) -> None:
    labels = _labels(root, tmp_path / "out")
    assert labels["103_2b2_Ar_mc_LittC2SE"] == {
        "crackles": 1, "wheezes": 1, "diagnosis": 7, "cycles": 4, "normal_cycles": 1, "crackle_cycles": 1,
        "wheeze_cycles": 1, "both_cycles": 1,
    }  # fmt: skip
    counts = {stem: (values["crackles"], values["wheezes"], values["cycles"]) for stem, values in labels.items()}
    assert counts["101_1b1_Al_sc_Meditron"] == (1, 0, 2)
    assert counts["101_1b1_Pr_sc_Meditron"] == (0, 0, 1)
    assert counts["102_1b1_Ar_sc_Meditron"] == (0, 1, 3)
    assert labels["223_1b1_Lr_sc_Meditron"]["diagnosis"] != labels["223_1b1_Lr_sc_Meditron"]["diagnosis"]


def test_groups_come_from_the_file_name_and_the_demographic_table(root: Path, tmp_path: Path) -> None:
    result = build("icbhi", root, tmp_path / "out")
    groups = {study.study_id: study.groups for study in result.cohort.studies}
    assert groups["102_1b1_Ar_sc_Meditron"] == {
        "sex": "F", "age_band": "under 18", "device": "Meditron", "location": "Ar", "mode": "sc",
    }  # fmt: skip
    assert groups["218_1p1_Tc_mc_AKGC417L"]["age_band"] == "90 and over"
    assert groups["156_5b3_Al_mc_AKGC417L"]["age_band"] == "80 to 89"
    assert groups["223_1b1_Lr_sc_Meditron"] == {
        "sex": "", "age_band": "", "device": "Meditron", "location": "Lr", "mode": "sc",
    }  # fmt: skip
    assert result.table.loc["102_1b1_Ar_sc_Meditron", ["age", "weight", "height"]].tolist() == [0.75, 9.8, 73]
    assert result.table["bmi"].isna().sum() == 4
    assert result.cohort.population == "icbhi"


def test_the_test_half_stays_complete_and_its_patients_are_not_trained_on(root: Path, tmp_path: Path) -> None:
    result = build("icbhi", root, tmp_path / "out")
    test = {stem for stem, split in result.table["split"].items() if split == "test"}
    assert test == {stem for stem, (side, _) in RECORDINGS.items() if side == "test"}
    excluded = {reason: count for reason, count in result.excluded().items() if count}
    assert excluded == {"sound file is missing": 1, "training recordings of patients who also test": 2}
    assert result.report["flow"][0]["start"] == 11


@pytest.mark.parametrize(
    ("rule", "stems"),
    [("train", ["156_2b3_Al_mc_AKGC417L", "218_1b1_Pl_sc_Litt3200"]), ("exclude", [])],
)
def test_shared_patients_train_or_are_excluded_as_set(root: Path, tmp_path: Path, rule: str, stems: list[str]) -> None:
    table = build("icbhi", root, tmp_path / "out", "--shared_patients", rule).table
    assert sorted(table.index[table["patient_id"].isin([156, 218])]) == stems
    assert set(table.loc[stems, "split"]) <= {"train", "val"}


def test_validation_is_drawn_by_patient_from_the_training_half_only(root: Path, tmp_path: Path) -> None:
    few = build("icbhi", root, tmp_path / "few", "--val", "0").table
    assert set(few["split"]) == {"train", "test"}
    many = build("icbhi", root, tmp_path / "many", "--val", "0.99").table
    assert set(many.loc[few["split"] == "train", "split"]) == {"val"}
    assert (many.loc[few["split"] == "test", "split"] == "test").all()


def test_a_split_by_patient_uses_every_recording_and_needs_no_official_file(root: Path, tmp_path: Path) -> None:
    (root / SPLIT).unlink()
    result = build("icbhi", root, tmp_path / "out", "--split", "patient", "--val", "0.25")
    assert len(result.table) == len(RECORDINGS)
    assert (result.table.groupby("patient_id")["split"].nunique() == 1).all()
    places = dict(zip(result.table["patient_id"], result.table["split"], strict=True))
    drawn = {patient: int(sha256(f"0:{patient}".encode()).hexdigest()[:8], 16) / 2**32 for patient in places}
    assert places == {
        patient: "test" if place < 0.4 else "val" if place < 0.4 + 0.25 * 0.6 else "train"
        for patient, place in drawn.items()
    }
    assert set(places.values()) == {"train", "val", "test"}


def test_sounds_have_the_sampling_rate_of_their_device(root: Path, tmp_path: Path) -> None:
    studies = {study.study_id: study for study in build("icbhi", root, tmp_path / "out").cohort.studies}
    rates = {stem: Audio().read(study.sources["audio"]).rate for stem, study in studies.items()}
    assert rates["101_1b1_Al_sc_Meditron"] == 4000
    assert rates["103_2b2_Ar_mc_LittC2SE"] == 44100


def test_unusable_recordings_are_counted_by_reason(root: Path, tmp_path: Path) -> None:
    folder = root / FOLDER
    (folder / "110_1b1_Ll_sc_Meditron.wav").unlink()
    (folder / "101_1b1_Al_sc_Meditron.txt").unlink()
    (folder / "101_1b1_Pr_sc_Meditron.txt").write_text("")
    (folder / "102_1b1_Ar_sc_Meditron.txt").write_text("0.1\t1.0\t0\t2\n")
    (folder / "103_2b2_Ar_mc_LittC2SE.txt").write_text("0.1\t1.0\t0\t1\n1.0\t1.0\t0\t0\n")
    (folder / "218_1b1_Pl_sc_Litt3200.wav").rename(folder / "218_1b1_Xx_sc_Litt3200.wav")
    (folder / "filename_format.txt").write_text("not an annotation\n")
    (folder / "._156_5b3_Al_mc_AKGC417L.txt").write_bytes(b"\0\xff of a Mac")
    (folder / "._156_5b3_Al_mc_AKGC417L.wav").write_bytes(b"\0\xff of a Mac")
    (root / SPLIT).write_text(
        (root / SPLIT).read_text().replace("218_1b1_Pl", "218_1b1_Xx").replace("223_1b1_Lr_sc_Meditron\ttrain\n", "")
    )
    result = build("icbhi", root, tmp_path / "out")
    assert {reason: count for reason, count in result.excluded().items() if count} == {
        "sound file is missing": 2,
        "not named in ICBHI_challenge_train_test.txt": 1,
        "name lacks patient, location, mode or device": 1,
        "no annotated cycle": 2,
        "a line of the annotation is not onset, a later offset, and 0 or 1 twice": 2,
        "training recordings of patients who also test": 1,
    }
    assert sorted(result.table.index) == ["156_5b3_Al_mc_AKGC417L", "218_1p1_Tc_mc_AKGC417L"]


def test_a_recording_in_both_halves_is_excluded(root: Path, tmp_path: Path) -> None:
    with (root / SPLIT).open("a") as stream:
        stream.write("102_1b1_Ar_sc_Meditron\ttrain\n103_2b2_Ar_mc_LittC2SE\ttest\n")
    result = build("icbhi", root, tmp_path / "out")
    assert result.excluded()[f"on both sides of {SPLIT}"] == 1
    assert "102_1b1_Ar_sc_Meditron" not in result.table.index
    assert "103_2b2_Ar_mc_LittC2SE" in result.table.index


def test_tables_may_be_in_a_subfolder_and_separated_by_blanks(root: Path, tmp_path: Path) -> None:
    expected = build("icbhi", root, tmp_path / "expected").table
    (root / "challenge").mkdir()
    for name in (SPLIT, DEMOGRAPHIC, "ICBHI_Challenge_diagnosis.txt"):
        (root / "challenge" / name).write_text((root / name).read_text().replace("\t", " "))
        (root / name).unlink()
    assert build("icbhi", root, tmp_path / "out").table.equals(expected)


def test_paths_may_look_like_patterns_and_are_quoted_in_the_next_command(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = root.rename(tmp_path / "[icbhi]* 'ü'")
    write_icbhi(tmp_path / "icbhi")
    (tmp_path / "[out]").mkdir()
    assert len(build("icbhi", root, tmp_path / "[out]" / "cohort").table) == 8
    assert capsys.readouterr().out.endswith(f"next: polyclinic cohort check '{tmp_path}/[out]/cohort/cohort.yaml'\n")


def test_values_that_contradict_each_other_for_a_patient_are_unknown(root: Path, tmp_path: Path) -> None:
    with (root / DEMOGRAPHIC).open("a") as stream:
        stream.write("101\t4\tF\tNA\t19\t99\n")
    table = build("icbhi", root, tmp_path / "out").table
    row = table.loc["101_1b1_Al_sc_Meditron"]
    assert row["age"] != row["age"]
    assert (row["sex"], row["weight"]) == ("F", 19)
    assert len(table) == 8


@pytest.mark.parametrize(
    ("name", "text", "reply"),
    [
        (SPLIT, "101_1b1_Al_sc_Meditron\n", f"{SPLIT} has 1 lines that do not match its layout"),
        (SPLIT, "101_1b1_Al_sc_Meditron\tvalidate\n", f"{SPLIT} has 1 lines that do not match its layout"),
        (f"{FOLDER}/101_1b1_Al_sc_Meditron.txt", "0.1\t1.0\t\udcff\t0\n", "(file 101_1b1_Al_sc_Meditron.txt)"),
        (DEMOGRAPHIC, "101\t3\tF\n", f"{DEMOGRAPHIC} has 1 lines that do not match its layout"),
        (DEMOGRAPHIC, "101\tthree\tF\tNA\t19\t99\n", "a table does not match the layout of the data set"),
        ("ICBHI_Challenge_diagnosis.txt", "101\tFlu\n", "has 'Flu' as label 'diagnosis', expected one of ['Healthy'"),
        (SPLIT, None, f"got 0 folders with {SPLIT} up to 3 levels below the root, expected one; set `--root`"),
    ],
)
def test_a_table_that_does_not_match_its_layout_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, reply: str
) -> None:
    if text is None:
        (root / name).unlink()
    else:
        (root / name).write_text(text, errors="surrogateescape")
    assert main(["cohort", "build", "icbhi", "--root", str(root), "--out", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert reply in message
    assert "three" not in message
    assert not (tmp_path / "out").exists()


def test_a_validation_share_that_leaves_no_training_data_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["cohort", "build", "icbhi", "--root", str(root), "--out", str(tmp_path / "out"), "--val", "1"]
    assert main(argv) == 1
    assert "got val 1.0, expected a share of at least 0 and below 1; set `--val`" in capsys.readouterr().err
