"""Admissions with what was measured around them, from the raw tables of MIMIC."""

import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layouts.built import build
from layouts.mimic import Admission, Lab, Note, write_mimic, write_notes
from layouts.mimic_cxr import Image, image_file
from layouts.mimic_iv_ecg import Record
from polyclinic.cli import main
from polyclinic_cohorts.labs import SYMILE_LABS
from polyclinic_ecg import ECG
from polyclinic_tabular import Tabular
from polyclinic_xray import XRay
from symile_mimic_reference import linked, percentile

START = datetime(2180, 5, 6, 22, 30)
SUBJECT = 10000032


def _when(hours: float, start: datetime = START) -> str:
    return (start + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S")


def _image(dicom: str, hours: float, *, view: str = "AP", study: int = 50000001, subject: int = SUBJECT) -> Image:
    moment = START + timedelta(hours=hours)
    return Image(subject, study, dicom, view, moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.0"), "train")


def _lab(event: int, hours: float, value: float | None, *, item: int = 50912, stored: float | None = None) -> Lab:
    return Lab(event, SUBJECT, item, _when(hours), "" if stored is None else _when(stored), value)


def _single_study(
    tmp_path: Path,
    *options: str,
    images: Sequence[Image] = (),
    records: Sequence[Record] = (),
    labs: Sequence[Lab] = (),
) -> pd.Series:
    """Build the study of a single admission."""
    write_mimic(
        tmp_path / "root", admissions=[Admission(SUBJECT, 1, _when(0), _when(200), _when(-5))],
        images=images, records=records, labs=labs,
    )  # fmt: skip
    return build("mimic", tmp_path / "root", tmp_path / "out", *options).table.iloc[0]


@pytest.mark.parametrize(
    ("hours", "chosen"),
    [((24, 24.001), "b"), ((72, 71.999), "b"), ((72.001, 72), "b"), ((30, 25), "b"), ((25, 30), "a")],
)
def test_the_earliest_xray_after_24_and_up_to_72_hours_is_used(
    tmp_path: Path, hours: tuple[float, float], chosen: str
) -> None:
    images = [_image("a", hours[0]), _image("b", hours[1], study=50000002)]
    window = ("--xray.lower", "24", "--xray.upper", "72", "--xray.after_lower", "true")
    study = _single_study(tmp_path, *window, images=images, labs=[_lab(1, 0, 1.0)])
    assert study["dicom_id"] == chosen


def test_windows_include_both_ends_and_may_start_before_the_anchor(tmp_path: Path) -> None:
    records = [Record(SUBJECT, 40000000 + n, _when(h)) for n, h in enumerate((-24.001, -24, 24, 24.001))]
    labs = [_lab(1, -24, 5.0), _lab(2, -24.001, 4.0), _lab(3, 24, 7.0, item=50983), _lab(4, 24.001, 8.0, item=50971)]
    study = _single_study(tmp_path, records=records, labs=labs)
    assert study["ecg_study"] == 40000001
    assert (study["50912"], study["50983"]) == (5.0, 7.0)
    assert np.isnan(study["50971"])


def test_latest_and_all_can_be_picked_instead_of_the_earliest(tmp_path: Path) -> None:
    records = [Record(SUBJECT, 40000000 + n, _when(n)) for n in range(3)]
    root = tmp_path / "root"
    write_mimic(root, admissions=[Admission(SUBJECT, 1, _when(0), _when(200))], records=records)
    latest = build(
        "mimic", root, tmp_path / "latest", "--ecg.lower", "-24", "--ecg.upper", "24", "--ecg.pick", "latest"
    )
    assert latest.table["ecg_study"].tolist() == [40000002]
    every = build("mimic", root, tmp_path / "all", "--ecg.lower", "-24", "--ecg.upper", "24", "--ecg.pick", "all")
    assert every.table.index.tolist() == ["1-40000000", "1-40000001", "1-40000002"]


def test_strict_excludes_results_stored_after_the_anchor(tmp_path: Path) -> None:
    labs = [
        _lab(1, -3, 1.0, stored=0.001), _lab(2, -2, 2.0, stored=0), _lab(3, -1, 3.0, stored=-0.5),
        _lab(4, -1, 9.0, item=50983, stored=None),
    ]  # fmt: skip
    root = tmp_path / "root"
    write_mimic(root, admissions=[Admission(SUBJECT, 1, _when(0), _when(200))], labs=labs)
    strict = build("mimic", root, tmp_path / "strict", "--strict", "true")
    assert strict.table["50912"].tolist() == [2.0]
    assert np.isnan(strict.table["50983"].iloc[0])
    assert (
        "4 laboratory results in the window, 1 stored after the anchor and 1 at an unknown time: left out"
        in (strict.report["notes"])
    )
    assert build("mimic", root, tmp_path / "all").table["50912"].tolist() == [1.0]


def test_results_are_matched_by_patient_and_blank_values_are_skipped(tmp_path: Path) -> None:
    stranger = Lab(9, SUBJECT + 1, 50912, _when(-5), "", 99.0)
    study = _single_study(tmp_path, labs=[_lab(1, -2, None), _lab(2, -1, 3.0), stranger])
    assert study["50912"] == 3.0


@pytest.mark.parametrize(("anchor", "time"), [("admission", 0), ("discharge", 200), ("emergency", -5)])
def test_the_anchor_is_the_configured_event(tmp_path: Path, anchor: str, time: float) -> None:
    study = _single_study(tmp_path, "--anchor", anchor, labs=[_lab(n, h, h) for n, h in enumerate((-6, 0.5, 199))])
    assert str(study["anchor_time"]) == _when(time)
    assert study["50912"] == {0: -6, 200: 199, -5: -6}[time]


def test_with_images_as_anchors_a_study_has_that_image_and_the_admission_around_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    stays = [Admission(SUBJECT, 1, _when(0), _when(50)), Admission(SUBJECT, 2, _when(60), _when(90))]
    images = [_image("a", 10), _image("b", 70, study=50000002), _image("c", 500, study=50000003)]
    write_mimic(root, admissions=stays, images=images, labs=[_lab(1, 9, 1.0), _lab(2, 69, 2.0)])
    table = build("mimic", root, tmp_path / "out", "--anchor", "xray").table
    assert table["hadm_id"].fillna(0).to_dict() == {"a": 1, "b": 2, "c": 0}
    assert table["dicom_id"].tolist() == ["a", "b", "c"]
    assert table["50912"].fillna(0).tolist() == [1, 2, 0]


def test_plugins_read_the_files_and_uncertain_labels_stay_uncertain(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_mimic(
        root, admissions=[Admission(SUBJECT, 1, _when(0), _when(200))], images=[_image("a", 1, study=53189527)],
        records=[Record(SUBJECT, 40000001, _when(1))], labs=[_lab(1, 0, 1.5)],
    )  # fmt: skip
    result = build("mimic", root, tmp_path / "out")
    (study,) = result.cohort.studies
    assert set(study.sources) == {"xray", "ecg", "tabular"}
    assert XRay().read(study.sources["xray"]).pixels.shape == (40, 32)
    assert ECG().read(study.sources["ecg"]).facts["leads"] == 12
    assert study.sources["tabular"]["50912"] == "1.5"
    values = dict(zip(result.cohort.labels, study.labels, strict=True))
    assert (values["Atelectasis"], values["Edema"], values["Pneumothorax"]) == (1, -1, 0)
    assert study.groups == {
        "sex": "M", "age_band": "80 to 89", "race": "WHITE", "view": "AP", "admission_type": "EW EMER."
    }  # fmt: skip


def test_notes_are_linked_by_chart_time_and_with_strict_by_storage_time(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_mimic(root, admissions=[Admission(SUBJECT, 1, _when(0), _when(200))])
    long = 'CHEST, "PA":\n\nno effusion'
    write_notes(root / "note-2.2", [
        Note("a", SUBJECT, _when(-2), _when(1), "too late"), Note("b", SUBJECT, _when(-1), _when(-0.5), long),
    ])  # fmt: skip
    window = ("--notes.lower", "-24", "--notes.upper", "0")
    result = build("mimic", root, tmp_path / "out", *window, "--strict", "true")
    assert result.cohort.studies[0].sources["report"] == long
    assert build("mimic", root, tmp_path / "lax", *window).table["report"].tolist() == ["too late"]


def test_the_report_of_the_xray_is_the_report_of_the_study(tmp_path: Path) -> None:
    root = tmp_path / "root"
    stays = [Admission(SUBJECT, 1, _when(0), _when(50)), Admission(SUBJECT, 2, _when(100), _when(150))]
    write_mimic(root, admissions=stays, images=[_image("a", 1), _image("b", 101, study=50000002)])
    text = root / "mimic-cxr-reports" / "files" / "p10" / f"p{SUBJECT}" / "s50000001.txt"
    text.parent.mkdir(parents=True)
    text.write_text("FINDINGS: clear lungs.")
    studies = {study.study_id: study for study in build("mimic", root, tmp_path / "out").cohort.studies}
    assert studies["1"].sources["report"] == text
    assert "report" not in studies["2"].sources


def test_an_absent_data_set_is_skipped_only_when_set_to_null(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    write_mimic(root, admissions=[Admission(SUBJECT, 1, _when(0), _when(50))], labs=[_lab(1, 0, 1.0)])
    for folder in ("mimic-cxr-jpg", "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"):
        shutil.rmtree(root / folder)
    command = ["cohort", "build", "mimic", "--root", str(root), "--out", str(tmp_path / "out"), "--xray", "null"]
    assert main(command) == 1
    assert "record_list.csv" in (record := capsys.readouterr().err)
    assert "set `--root` or, to link none, `--ecg null`" in record
    assert not (tmp_path / "out").exists()
    result = build("mimic", root, tmp_path / "out", "--xray", "null", "--ecg", "null")
    assert result.cohort.modalities == ("tabular",)


def _random_root(root: Path, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Write sixty admissions of forty patients with events around them, whose times often coincide."""
    patients = [SUBJECT + n for n in range(40)]
    stays = pd.DataFrame({"hadm_id": range(1000, 1060), "subject_id": rng.choice(patients, 60)})
    stays["time"] = [pd.Timestamp("2150-01-01") + pd.Timedelta(minutes=int(m)) for m in rng.integers(0, 200000, 60)]

    def events(count: int, low: float, high: float) -> pd.DataFrame:
        chosen = stays.iloc[rng.integers(0, len(stays), count)]
        hours = rng.integers(int(low), int(high), count)
        return pd.DataFrame({
            "subject_id": chosen["subject_id"].to_numpy(),
            "time": chosen["time"].to_numpy() + hours * np.timedelta64(3600 * 10**9, "ns"),
        })  # fmt: skip

    images, records, labs = events(260, 10, 80), events(160, -30, 30), events(4000, -30, 30)
    images["dicom_id"] = [f"{v:08x}" for v in rng.permutation(260)]
    images["study_id"] = 50000000 + rng.permutation(260)
    images["view"] = rng.choice(["AP", "PA", "LATERAL", ""], 260, p=[0.5, 0.3, 0.1, 0.1])
    images["there"], images["labelled"] = rng.random(260) > 0.1, rng.random(260) > 0.1
    records["study_id"] = 40000000 + rng.permutation(160)
    records["damage"] = rng.choice(["", "nan", "zero", "flat lead", "absent"], 160, p=[0.8, 0.05, 0.05, 0.05, 0.05])
    records["usable"] = records["damage"].isin(["", "flat lead"])
    labs["labevent_id"] = rng.permutation(4000)
    labs["itemid"] = rng.choice([*[*SYMILE_LABS][:5], 99999], 4000)
    labs["value"] = np.where(rng.random(4000) < 0.2, np.nan, rng.integers(0, 30, 4000).astype(float))
    _write_random(root, stays, images, records, labs)
    return {"stays": stays, "images": images, "records": records, "labs": labs}


def _write_random(
    root: Path, stays: pd.DataFrame, images: pd.DataFrame, records: pd.DataFrame, labs: pd.DataFrame
) -> None:
    radiographs = [
        Image(i.subject_id, i.study_id, i.dicom_id, i.view, i.time.strftime("%Y%m%d"), i.time.strftime("%H%M%S.31"), "")
        for i in images.itertuples()
    ]
    write_mimic(
        root,
        admissions=[Admission(s.subject_id, s.hadm_id, str(s.time), str(s.time)) for s in stays.itertuples()],
        images=radiographs,
        records=[Record(r.subject_id, r.study_id, str(r.time), r.damage) for r in records.itertuples()],
        labs=[
            Lab(
                lab.labevent_id,
                lab.subject_id,
                lab.itemid,
                str(lab.time),
                "",
                None if np.isnan(lab.value) else lab.value,
            )
            for lab in labs.itertuples()
        ],
    )
    cxr = root / "mimic-cxr-jpg" / "2.0.0"
    for image in np.flatnonzero(~images["there"]):
        (cxr / image_file(radiographs[image])).unlink()
    labels = pd.read_csv(cxr / "mimic-cxr-2.0.0-chexpert.csv.gz")
    labelled = labels["study_id"].isin(images["study_id"][images["labelled"]])
    labels[labelled].to_csv(cxr / "mimic-cxr-2.0.0-chexpert.csv.gz", index=False)


def test_the_preset_equals_the_published_rules(tmp_path: Path) -> None:
    root = tmp_path / "root"
    tables = _random_root(root, np.random.default_rng(0))
    options = ("--preset", "symile-mimic", "--draw.sizes", "[14, 5]", "--draw.candidates", "3")
    result = build("mimic", root, tmp_path / "out", *options)
    items = [*SYMILE_LABS]
    expected = linked(tables["stays"], tables["images"], tables["records"], tables["labs"], items)
    in_earlier_split = next(
        event["rows"]
        for arm in result.report["flow"]
        for event in arm["events"]
        if event["reason"] == "patient is in a split that was drawn before"
    )
    assert len(result.table) == len(expected) - in_earlier_split
    assert in_earlier_split > 0
    expected = expected.loc[result.table.index.astype(int)].set_axis(result.table.index)
    assert len(expected) > 20
    assert result.table["dicom_id"].tolist() == expected["dicom_id"].tolist()
    assert result.table["ecg_study"].tolist() == expected["ecg_study"].tolist()
    columns = [str(item) for item in items]
    np.testing.assert_array_equal(result.table[columns].to_numpy(float), expected[columns].to_numpy(float))
    train = expected[result.table["split"] == "train"]
    for column in columns:
        percentiles = result.table[f"{column}_percentile"].astype(float)
        np.testing.assert_allclose(percentiles, percentile(expected[column], train[column]), rtol=0, atol=1e-12)


def test_the_preset_draws_splits_of_the_set_sizes_and_three_candidates_per_query(tmp_path: Path) -> None:
    root = tmp_path / "root"
    _random_root(root, np.random.default_rng(0))
    options = ("--preset", "symile-mimic", "--draw.sizes", "[14, 5]", "--draw.candidates", "3")
    result = build("mimic", root, tmp_path / "out", *options)
    assert result.report["studies"]["train"] == 14
    assert result.report["studies"]["val"] == 5
    sets = pd.read_parquet(tmp_path / "out" / "candidates.parquet")
    split = result.table["split"]
    assert set(sets["query_study"]) == set(split[split != "train"].index)
    for query, candidates in sets.groupby("query_study"):
        assert sorted(candidates["label"]) == [0, 0, 1]
        assert candidates["candidate_study"].is_unique
        assert candidates.loc[candidates["label"] == 1, "candidate_study"].tolist() == [query]
        assert set(split[candidates["candidate_study"]]) == {split[query]}
    again = build("mimic", root, tmp_path / "again", *options).table
    pd.testing.assert_frame_equal(again, result.table)
    other_seed = build("mimic", root, tmp_path / "other", *options, "--draw.seed", "1").table
    assert other_seed["split"].to_dict() != split.to_dict()


def test_a_preset_refuses_settings_that_it_fixes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    write_mimic(root, admissions=[Admission(SUBJECT, 1, _when(0))])
    options = ["--root", str(root), "--out", str(tmp_path / "out"), "--preset", "symile-mimic", "--strict", "true"]
    assert main(["cohort", "build", "mimic", *options]) == 1
    assert "got preset 'symile-mimic' with ['strict'], which it fixes; leave out `--strict`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_laboratory_columns_are_configured_beside_the_cohort(tmp_path: Path) -> None:
    _single_study(tmp_path, labs=[_lab(1, 0, 1.5)])
    experiment = (tmp_path / "out" / "data.yaml").read_text()
    assert "class_path: Tabular" in experiment
    check = [
        "cohort",
        "check",
        str(tmp_path / "out" / "cohort.yaml"),
        "--experiment",
        str(tmp_path / "out" / "data.yaml"),
    ]
    assert main(check) == 0
    assert Tabular(numeric=["50912"]).read({"50912": "1.5"}).values.tolist() == [1.5]
