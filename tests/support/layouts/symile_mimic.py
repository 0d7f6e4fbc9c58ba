"""Roots of Symile-MIMIC, small: 1.0.0 as released, with images and signals of any size, and the raw data behind it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from layouts.mimic import Admission, Lab, write_mimic
from layouts.mimic_cxr import Image
from layouts.mimic_iv_ecg import Record

LABS = (
    50802, 50804, 50813, 50818, 50820, 50821, 50861, 50862, 50863, 50868, 50878, 50882, 50885, 50893, 50902, 50910,
    50912, 50931, 50934, 50947, 50960, 50970, 50971, 50983, 51006, 51133, 51146, 51200, 51221, 51222, 51237, 51244,
    51248, 51249, 51250, 51254, 51256, 51265, 51274, 51275, 51277, 51279, 51301, 51678, 52069, 52073, 52074, 52075,
    52135, 52172,
)  # fmt: skip
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
_RELEASED_FINDINGS = ("Atelectasis", "Cardiomegaly", "Edema", "Lung Opacity", "No Finding", "Pleural Effusion")
_CANDIDATES = 10
SIZES = {"train": 12, "val": 10, "test": 11}
FIRST = 20_000_001


def write_symile_mimic(root: Path, *, side: int = 32, samples: int = 64, seed: int = 0) -> None:
    """Write every file but the checkpoint; the first two admissions of each split are of the same patient.

    Admissions are numbered from ``FIRST``: those of train, of val, of test, and one that is in no split.
    """
    rng = np.random.default_rng(seed)
    (root / "code").mkdir(parents=True)
    (root / "code" / "README.md").write_text("how the data were made\n")
    (root / "LICENSE.txt").write_text("credentialed\n")
    everyone = _admissions(rng)
    everyone.to_csv(root / "symile_mimic_data.csv", index=False)
    splits = _splits(everyone)
    means = {f"{item}_percentile": float(splits["train"][f"{item}_percentile"].mean()) for item in LABS}
    (root / "labs_means.json").write_text(json.dumps(means, indent=4))
    for name, table in splits.items():
        table.to_csv(root / f"{name}.csv", index=False)
        _write_arrays(root / "data_npy" / name, name, table, means, side=side, samples=samples)
    write_sums(root)


def write_raw(root: Path, *, patients: int = 8) -> None:
    """Write MIMIC-IV, MIMIC-CXR-JPG and MIMIC-IV-ECG with one admission per patient that Symile-MIMIC includes."""
    rows = range(patients)
    subjects = [10_000_032 + row for row in rows]
    write_mimic(
        root,
        admissions=[
            Admission(s, 1 + row, "2180-05-06 22:30:00", "2180-05-20 12:00:00")
            for row, s in zip(rows, subjects, strict=True)
        ],
        labs=[
            Lab(100 * row + place, s, item, "2180-05-06 23:00:00", "2180-05-06 23:40:00", 5.0 + row + place)
            for row, s in zip(rows, subjects, strict=True)
            for place, item in enumerate(LABS)
            if (row + place) % 4
        ],
        images=[Image(s, 50_000_000 + s, f"image{s}", "AP", "21800508", "120000.0", "train") for s in subjects],
        records=[Record(s, 40_000_000 + s, "2180-05-07 01:00:00") for s in subjects],
    )


def write_sums(root: Path) -> None:
    """Write SHA256SUMS.txt with one space between digest and path, as released."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "SHA256SUMS.txt")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(root).as_posix()}" for path in files]
    (root / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")


def _admissions(rng: np.random.Generator) -> pd.DataFrame:
    count = sum(SIZES.values()) + 1
    hadm = FIRST + np.arange(count)
    subject = 10_000_001 + np.arange(count)
    for start in (0, SIZES["train"], SIZES["train"] + SIZES["val"]):
        subject[start + 1] = subject[start]
    table = pd.DataFrame({
        "subject_id": subject, "hadm_id": hadm, "admittime": "2150-03-01 08:00:00", "dischtime": "2150-03-09 12:00:00",
        "deathtime": "", "admission_type": "EW EMER.", "admission_location": "EMERGENCY ROOM",
        "discharge_location": "HOME", "race": "WHITE", "hospital_expire_flag": 0,
        "gender": np.where(np.arange(count) % 2, "M", "F"), "anchor_age": 18 + 5 * np.arange(count) % 73,
        "anchor_year": 2150, "dod": "", "admittime_year": 2150, "age": 18 + 5 * np.arange(count) % 73,
        "cxr_24_72_hr": "2150-03-02 10:00:00", "cxr_dicom_id": [f"dicom{one}" for one in hadm],
        "cxr_study_id": 50_000_000 + hadm, "cxr_ViewPosition": np.where(np.arange(count) % 3, "AP", "PA"),
        "cxr_ViewCodeSequence_CodeMeaning": "antero-posterior", "cxr_StudyDateTime": "2150-03-02 10:00:00",
        "cxr_path": [f"files/p10/p{one}/s{two}/dicom{two}.jpg" for one, two in zip(subject, hadm, strict=True)],
        "study_id": 50_000_000 + hadm,
    })  # fmt: skip
    values = rng.choice([1.0, 0.0, -1.0, np.nan], size=(count, len(FINDINGS)), p=[0.3, 0.3, 0.1, 0.3])
    values[:4, 0] = (1.0, 0.0, -1.0, np.nan)
    findings = pd.DataFrame(values, columns=list(FINDINGS))
    ecg = pd.DataFrame({
        "ecg_adm": "2150-03-01 09:00:00", "ecg_study_id": 40_000_000 + hadm, "ecg_file_name": hadm,
        "ecg_time": "2150-03-01 09:00:00",
        "ecg_path": [f"files/p1000/p{one}/s4/4" for one in subject],
    })  # fmt: skip
    labs = rng.normal(10, 3, (count, len(LABS)))
    labs[rng.random(labs.shape) < 0.3] = np.nan
    labs[0, 0], labs[1, 0] = 12.0, np.nan
    results = pd.DataFrame(labs, columns=[str(item) for item in LABS]).assign(labs_all_nan=0)
    return pd.concat([table, findings, ecg, results], axis=1)


def _splits(everyone: pd.DataFrame) -> dict[str, pd.DataFrame]:
    columns = ["subject_id", "hadm_id", "cxr_path", "ecg_path", *_RELEASED_FINDINGS, *(str(item) for item in LABS)]
    table, start = everyone[columns], 0
    splits = {}
    for name, size in SIZES.items():
        splits[name], start = table.iloc[start : start + size].reset_index(drop=True), start + size
    training = splits["train"]
    for name, part in splits.items():
        places = {
            f"{item}_percentile": _percentile(part[str(item)], training[str(item)].dropna().to_numpy()) for item in LABS
        }
        splits[name] = pd.concat([part, pd.DataFrame(places)], axis=1)
    for name in ("val", "test"):
        splits[name] = splits[name].assign(label_hadm_id=splits[name]["hadm_id"], label=1)
    return {
        "train": splits["train"],
        "val": splits["val"],
        "val_retrieval": _with_candidates(splits["val"]),
        "test": _with_candidates(splits["test"]),
    }


def _percentile(values: pd.Series, training: np.ndarray) -> np.ndarray:
    share = (training[None, :] <= values.to_numpy()[:, None]).mean(axis=1)
    return np.where(values.isna(), np.nan, share)


def _with_candidates(part: pd.DataFrame) -> pd.DataFrame:
    """Append nine other admissions for each query to the queries."""
    blocks = [part]
    for query, hadm in enumerate(part["hadm_id"]):
        others = part.drop(part.index[query]).sample(n=_CANDIDATES - 1, random_state=query)
        blocks.append(others.assign(label_hadm_id=hadm, label=0))
    return pd.concat(blocks, ignore_index=True)


def _write_arrays(
    folder: Path, name: str, table: pd.DataFrame, means: dict[str, float], *, side: int, samples: int
) -> None:
    """Write arrays whose rows are seeded by admission, so that a candidate is the same in every row."""
    folder.mkdir(parents=True)
    draws = [np.random.default_rng(hadm) for hadm in table["hadm_id"]]
    places = table[[f"{item}_percentile" for item in LABS]]
    arrays = {
        "cxr": np.stack([draw.normal(size=(3, side, side)).astype(np.float32) for draw in draws]),
        "ecg": np.stack([draw.uniform(-1, 1, size=(1, samples, 12)).astype(np.float32) for draw in draws]),
        "labs_percentiles": places.fillna(means).to_numpy(np.float32),
        "labs_missingness": places.notna().to_numpy(np.int64),
        "hadm_id": table["hadm_id"].to_numpy(np.int64),
    }
    if name in ("val_retrieval", "test"):
        arrays |= {field: table[field].to_numpy(np.int64) for field in ("label_hadm_id", "label")}
    for field, array in arrays.items():
        np.save(folder / f"{field}_{name}.npy", array)
