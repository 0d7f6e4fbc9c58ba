"""Symile-MIMIC 1.0.0 (Saporta et al. 2025): the released arrays, used in place."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.files.digest import file_sha256
from polyclinic.system.progress import track
from polyclinic_cohorts.groups import age_band
from polyclinic_cohorts.labs import SYMILE_LABS

FINDINGS = ("Atelectasis", "Cardiomegaly", "Edema", "Lung Opacity", "No Finding", "Pleural Effusion")
PERCENTILES = tuple(f"{item}_percentile" for item in SYMILE_LABS)
OBSERVED = tuple(f"{item}_observed" for item in SYMILE_LABS)

_SPLITS = ("train", "val", "test")
_SPLIT_OF_CANDIDATES = {"val_retrieval": "val", "test": "test"}
"""Sets of arrays with candidates, and the split of their studies."""
_SET_SIZE = 10
_MAX_NAMED_STUDIES = 5
_STUDY_FIELDS = ("cxr", "ecg", "labs_percentiles", "labs_missingness", "hadm_id")
_CANDIDATE_FIELDS = ("hadm_id", "label_hadm_id", "label")
_FIELDS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "cxr": ("float32", (3, None, None)),
    "ecg": ("float32", (1, None, 12)),
    "labs_percentiles": ("float32", (len(SYMILE_LABS),)),
    "labs_missingness": ("int64", (len(SYMILE_LABS),)),
    "hadm_id": ("int64", ()),
    "label_hadm_id": ("int64", ()),
    "label": ("int64", ()),
}
"""Type of each array, and its shape without the rows, where None is any length."""
_LARGE_FIELDS = ("cxr", "ecg")
_ADMISSIONS = {"hadm_id": "BIGINT", "gender": "VARCHAR", "age": "DOUBLE", "cxr_ViewPosition": "VARCHAR"}
_MEANS, _CHECKSUMS, _ALL_ADMISSIONS = "labs_means.json", "SHA256SUMS.txt", "symile_mimic_data.csv"


class SymileMIMICPublished(CohortBuilder):
    """Symile-MIMIC: the released splits and candidate sets, as rows of the released arrays.

    A study is an admission. The test studies are the queries of the test arrays; their candidate sets, and those of
    val_retrieval for the validation studies, are written to candidates.parquet. Laboratory values are the released
    percentiles, with the training mean for missing values, and 50 flags, 1 where observed. The arrays are validated
    against each other and the CSV files: sizes, types, the order of admissions, every percentile and flag, and that
    each candidate set has the query and nine others.

    Args:
        verify: whether to compare the SHA-256 of every file that is used with SHA256SUMS.txt, which reads most of 33
            GB.
    """

    unverified = (
        "symile_mimic_data.csv has the columns that the published script writes; without that file there are no groups",
        "images are reportedly normalised as for ImageNet, and signals to -1 to 1 over all leads, in the lead order of "
        "MIMIC-IV-ECG; their values are not checked",
    )

    def __init__(self, *, verify: bool = False) -> None:
        self.verify = verify

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per admission of a split."""
        data = root.folder("data_npy", setting="--root")
        if self.verify:
            _verify(data)
        shapes = {_load_studies(data, split) for split in _SPLITS}
        if len(shapes) > 1:
            raise ValueError(f"got images and signals of shapes {sorted(shapes)}, expected the same in every split")
        _candidates(data)
        groups = _groups(data)
        data.connection.execute(f"CREATE TABLE studies AS {_studies(groups)}")
        flow.start("studies", "rows of train.csv, val.csv and test.csv")
        flow.exclude("studies", "candidate for another admission of test.csv, which is a study elsewhere", "label = 0")
        data.connection.execute("ALTER TABLE studies DROP COLUMN label")
        if groups:
            flow.start("admissions", f"admissions in {_ALL_ADMISSIONS}")
            flow.count("admissions", "in no split", "hadm_id NOT IN (SELECT study_id FROM studies)")
        image, signal = shapes.pop()
        return Built(
            table="studies",
            root=data.path,
            population="mimic-iv",
            modalities={
                "xray": {"path": "xray_file", "row": "array_row"},
                "ecg": {"path": "ecg_file", "row": "array_row"},
                "tabular": {"columns": [*PERCENTILES, *OBSERVED]},
            },
            labels={name: {"column": name} for name in FINDINGS},
            groups=groups,
            tables={"candidates": "candidates"},
            notes=(
                f"a row is an image of shape {image} and a signal of shape {signal}, as prepared by the authors",
                "candidates may be of the query's own patient, as published",
                *([] if groups else [f"without {_ALL_ADMISSIONS} there is no sex, age or view"]),
            ),
        )


def _name(split: str, field: str) -> str:
    return f"data_npy/{split}/{field}_{split}.npy"


def _array(data: DataRoot, split: str, field: str) -> np.ndarray:
    """Map an array of the data set into memory.

    Raises:
        ValueError: the array is missing, damaged, or of another type or shape.
    """
    name = _name(split, field)
    file = _file(data, name)
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{name} cannot be read as an array ({type(error).__name__}); it is not the complete released file"
        ) from None
    kind, shape = _FIELDS[field]
    fits = array.dtype == kind and array.ndim == 1 + len(shape)
    if not fits or any(size not in (None, actual) for size, actual in zip(shape, array.shape[1:], strict=True)):
        expected = ("rows", *(size or "any" for size in shape))
        raise ValueError(
            f"{name} holds {array.dtype} of shape {array.shape}, expected {kind} of shape {expected}; is this another "
            "version of the data?"
        )
    if field not in _LARGE_FIELDS:
        data.tables[name] = file
    return array


def _file(data: DataRoot, name: str) -> Path:
    if not (data.path / name).is_file():
        raise ValueError(f"{name} is not in the data root; set `--root` to the folder that holds it")
    return data.path / name


def _load_studies(data: DataRoot, split: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Create a table of the rows of a split's arrays, after validating them against its CSV file.

    Returns:
        Shapes of one image and of one signal.
    """
    columns = {"subject_id": "BIGINT", "hadm_id": "BIGINT", **dict.fromkeys((*FINDINGS, *PERCENTILES), "DOUBLE")}
    candidate_columns = {"label_hadm_id": "BIGINT", "label": "BIGINT"} if split in _SPLIT_OF_CANDIDATES else {}
    data.view(f"{split}_rows", f"{split}.csv", {**columns, **candidate_columns})
    arrays = {field: _array(data, split, field) for field in (*_STUDY_FIELDS, *candidate_columns)}
    _compare(data, split, arrays)
    _compare_labs(data, split, arrays)
    table = {"array_row": np.arange(len(arrays["hadm_id"])), **_ids(arrays)}
    for names, field in ((PERCENTILES, "labs_percentiles"), (OBSERVED, "labs_missingness")):
        table |= dict(zip(names, np.asarray(arrays[field]).T, strict=True))
    _create(data, f"{split}_arrays", table)
    return arrays["cxr"].shape[1:], arrays["ecg"].shape[1:]


def _ids(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the admission of each row, and the query that it is a candidate of, by default the same admission."""
    admissions = np.asarray(arrays["hadm_id"])
    return {
        "hadm_id": admissions,
        "label_hadm_id": np.asarray(arrays.get("label_hadm_id", admissions)),
        "label": np.asarray(arrays.get("label", np.ones_like(admissions))),
    }


def _create(data: DataRoot, name: str, columns: Mapping[str, np.ndarray]) -> None:
    data.connection.register(
        "content", pa.table({key: np.ascontiguousarray(values) for key, values in columns.items()})
    )
    data.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM content")
    data.connection.unregister("content")


def _compare(data: DataRoot, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Validate the lengths of the arrays, and the order of their admissions, against the CSV file.

    Raises:
        ValueError: an array has another length or order.
    """
    names = [field for field in _CANDIDATE_FIELDS if field in arrays]
    rows = data.connection.execute(f"SELECT {', '.join(names)} FROM {split}_rows").df()
    lengths = {f"{split}.csv": len(rows), **{field: len(array) for field, array in arrays.items()}}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"got numbers of rows {lengths} in the files of {split}, expected one for all; get them again")
    for field in names:
        if len(wrong := np.flatnonzero(rows[field].to_numpy() != arrays[field])):
            raise ValueError(
                f"{field} of row {wrong[0]} and {len(wrong) - 1} others differs between {split}.csv and "
                f"{_name(split, field)}, expected the same admissions in the same order; get both again"
            )


def _compare_labs(data: DataRoot, split: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Validate percentiles and flags against the CSV file, item by item.

    Raises:
        ValueError: a percentile or flag differs.
    """
    listed = ", ".join(f'"{name}"' for name in PERCENTILES)
    percentiles = data.connection.execute(f"SELECT {listed} FROM {split}_rows").df().to_numpy(dtype=np.float64)
    missing = np.isnan(percentiles)
    expected = np.where(missing, _means(data), percentiles)
    same = np.isclose(expected, arrays["labs_percentiles"], rtol=0, atol=1e-5)
    same &= arrays["labs_missingness"] == ~missing
    if not same.all():
        row, column = np.argwhere(~same)[0]
        raise ValueError(
            f"{(~same).sum()} laboratory values of {split} differ between its CSV file and its arrays (first "
            f"{PERCENTILES[column]} of study {int(arrays['hadm_id'][row])}), expected items in ascending order, flags "
            "of 1 where observed, and the training mean where not; is this another version of the data?"
        )


def _means(data: DataRoot) -> np.ndarray:
    """Read the mean percentile of each item in the training split."""
    file = _file(data, _MEANS)
    data.tables[_MEANS] = file
    try:
        means = {key.removesuffix("_percentile"): float(mean) for key, mean in json.loads(file.read_text()).items()}
        return np.array([means[str(item)] for item in SYMILE_LABS])
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(
            f"{_MEANS} does not give a mean for every laboratory item ({type(error).__name__}); get it again"
        ) from None


def _candidates(data: DataRoot) -> None:
    """Create the table of candidates, and validate that the sets are as published.

    Raises:
        ValueError: the candidate set of a query differs.
    """
    data.view("val_retrieval_rows", "val_retrieval.csv", dict.fromkeys(_CANDIDATE_FIELDS, "BIGINT"))
    arrays = {field: _array(data, "val_retrieval", field) for field in _CANDIDATE_FIELDS}
    _compare(data, "val_retrieval", arrays)
    _create(data, "val_retrieval_arrays", _ids(arrays))
    parts = [
        f"SELECT '{split}' AS split, label_hadm_id AS query_study, hadm_id AS candidate_study, label FROM {name}_arrays"
        for name, split in _SPLIT_OF_CANDIDATES.items()
    ]
    data.connection.execute(f"CREATE TABLE candidates AS {' UNION ALL '.join(parts)}")
    for name, split in _SPLIT_OF_CANDIDATES.items():
        wrong = data.connection.execute(f"""
            WITH studies AS (SELECT DISTINCT hadm_id FROM {split}_arrays WHERE label = 1),
                sets AS (SELECT query_study, count(DISTINCT candidate_study) = {_SET_SIZE}
                    AND count(*) = {_SET_SIZE} AND count(*) FILTER (label = 1) = 1
                    AND bool_and(label IN (0, 1) AND (label = 1) = (query_study = candidate_study))
                    AND bool_and(candidate_study IN (SELECT hadm_id FROM studies)) AS right_set
                FROM candidates WHERE split = '{split}' GROUP BY query_study)
            SELECT coalesce(query_study, hadm_id) FROM sets FULL JOIN studies ON query_study = hadm_id
            WHERE right_set IS NOT true OR hadm_id IS NULL ORDER BY 1
        """).fetchall()
        if wrong:
            raise ValueError(
                f"got {len(wrong)} queries of {name} whose candidates are not themselves with label 1 and "
                f"{_SET_SIZE - 1} other studies of {split} with label 0 (studies "
                f"{[study for (study,) in wrong[:_MAX_NAMED_STUDIES]]}); is this another version of the data?"
            )


def _groups(data: DataRoot) -> tuple[str, ...]:
    if not data.has(_ALL_ADMISSIONS):
        return ()
    data.view("admissions", _ALL_ADMISSIONS, _ADMISSIONS)
    return ("sex", "age_band", "view")


def _studies(groups: tuple[str, ...]) -> str:
    """Return a SQL query for every row of the three splits with its labels and groups."""
    labels = ", ".join(f'c."{name}"' for name in FINDINGS)
    group_columns = f", m.gender AS sex, {age_band('m.age')} AS age_band, m.cxr_ViewPosition AS view" if groups else ""
    join = "LEFT JOIN admissions AS m ON m.hadm_id = a.hadm_id" if groups else ""
    return " UNION ALL ".join(
        f"""
        SELECT a.hadm_id AS study_id, c.subject_id AS patient_id, '{split}' AS split, a.array_row,
            '{_name(split, "cxr")}' AS xray_file, '{_name(split, "ecg")}' AS ecg_file, {labels},
            a.* EXCLUDE (array_row, hadm_id, label_hadm_id){group_columns}
        FROM {split}_arrays AS a JOIN {split}_rows AS c ON c.hadm_id = a.hadm_id
            AND {"c.label_hadm_id" if split in _SPLIT_OF_CANDIDATES else "c.hadm_id"} = a.label_hadm_id {join}
        """
        for split in _SPLITS
    )


def _verify(data: DataRoot) -> None:
    """Compare the SHA-256 of every file that is used with the published one.

    Raises:
        ValueError: a checksum differs or is not listed.
    """
    lines = [line.split(maxsplit=1) for line in _file(data, _CHECKSUMS).read_text().splitlines()]
    listed: dict[str, Any] = {parts[1].removeprefix("./"): parts[0].lower() for parts in lines if len(parts) == 2}
    file_names = (
        [f"{name}.csv" for name in (*_SPLITS, *_SPLIT_OF_CANDIDATES)]
        + [_MEANS]
        + ([_ALL_ADMISSIONS] if data.has(_ALL_ADMISSIONS) else [])
    )
    file_names += [_name(split, field) for split in _SPLITS for field in _STUDY_FIELDS]
    file_names += [_name(name, field) for name in _SPLIT_OF_CANDIDATES for field in _CANDIDATE_FIELDS]
    for name in track(list(dict.fromkeys(file_names)), description="verifying files"):
        digest = file_sha256(_file(data, name))
        if listed.get(name) != digest:
            message = "is not listed in" if name not in listed else "does not match its checksum in"
            raise ValueError(f"{name} {message} {_CHECKSUMS}; get it again, or omit `--verify`")
