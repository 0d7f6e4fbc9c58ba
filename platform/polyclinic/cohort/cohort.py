"""The studies of a cohort: read from a table, validated, and fingerprinted."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Formatter

import numpy as np
import pandas as pd

from polyclinic.cohort.spec import CohortSpec, read_spec
from polyclinic.cohort.target import Target, read_targets
from polyclinic.modality import ArrayRow, Source

SPLITS = ("train", "val", "test")
_NAMED = 5
_WILDCARDS = "*?["


@dataclass(frozen=True, kw_only=True)
class Study:
    """One row: ids, split, the sources of the modalities it has, its labels (NaN for unknown) and groups."""

    study_id: str
    patient_id: str
    split: str
    sources: Mapping[str, Source]
    labels: tuple[float, ...]
    groups: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A validated cohort.

    Attributes:
        name: the folder or table it came from.
        studies: in the table's order.
        modalities: names, in the order of ``cohort.yaml``.
        targets: what the labels are, in the order of ``Study.labels``.
        population: in which patient ids are unique; empty where the cohort file does not say.
        fingerprint: SHA-256 over the specification, every row, and name and size of every source file.
    """

    name: str
    studies: tuple[Study, ...]
    modalities: tuple[str, ...]
    targets: tuple[Target, ...]
    fingerprint: str
    population: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in self.targets)

    def split(self, name: str) -> tuple[Study, ...]:
        """The studies of one split.

        Raises:
            ValueError: not one of train, val, test.
        """
        if name not in SPLITS:
            raise ValueError(f"got split {name!r}, expected one of {SPLITS}; set `split`")
        return tuple(study for study in self.studies if study.split == name)

    def present_share(self) -> dict[str, float]:
        """Share of the studies that have each modality."""
        count = Counter(name for study in self.studies for name in study.sources)
        return {name: count[name] / len(self.studies) for name in self.modalities}


def read_cohort(path: Path) -> Cohort:
    """Read ``cohort.yaml`` and its table, and refuse what would make a run wrong.

    Raises:
        ValueError: an unknown column, an empty or duplicate study id, a patient in two splits, a label that is
            no number, a source that does not exist, a modality in no study. The message names the studies and
            the setting, never a path of a source.
    """
    spec = read_spec(path)
    table = read_table(spec)
    _require_columns(spec, table)
    studies = _studies(spec, table)
    _refuse_duplicates(spec, studies)
    _refuse_shared_patients(studies)
    _refuse_lost_sources(spec, studies)
    return Cohort(
        name=path.resolve().parent.name,
        studies=studies,
        modalities=tuple(spec.modalities),
        targets=read_targets(spec.labels),
        fingerprint=_fingerprint(spec, table, studies),
        population=spec.population,
    )


def read_table(spec: CohortSpec) -> pd.DataFrame:
    """Every cell as text, what means *no value* as the empty string."""
    if not spec.table.is_file():
        raise ValueError(f"table {spec.table.name!r} does not exist; set `table` in the cohort file")
    try:
        if spec.table.suffix == ".parquet":
            # Arrow's own types, as pandas' turn the whole numbers of a column with blanks into decimal ones.
            table = pd.read_parquet(spec.table, dtype_backend="pyarrow")
            table = table.astype(object).where(table.notna(), "").astype(str)
        else:
            table = pd.read_csv(spec.table, dtype=str, keep_default_na=False, encoding=spec.encoding)
    except UnicodeError:
        raise ValueError(f"{spec.table.name} is not {spec.encoding}; set `encoding` (often cp1252)") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OSError) as error:
        raise ValueError(f"{spec.table.name} cannot be read as a table: {error}") from None
    if table.empty:
        raise ValueError(f"{spec.table.name} has no rows; set `table` to a table with one row per study")
    table = table.astype(str).apply(lambda column: column.str.strip())
    return table.mask(table.isin(spec.missing), "")


def wanted_columns(spec: CohortSpec) -> dict[str, list[str]]:
    """The columns that each setting names."""
    wanted = {"study_id": [spec.study_id], "patient_id": [spec.patient_id["column"]], "groups": list(spec.groups)}
    if isinstance(spec.split, str):
        wanted["split"] = [spec.split]
    for name, source in spec.modalities.items():
        for kind, value in source.items():
            columns = value if kind == "columns" else _template_fields(value) if kind == "path" else [value]
            wanted[f"modalities.{name}.{kind}"] = columns
    for name, label in spec.labels.items():
        wanted[f"labels.{name}"] = [label["column"]]
    return wanted


def _require_columns(spec: CohortSpec, table: pd.DataFrame) -> None:
    for setting, columns in wanted_columns(spec).items():
        if unknown := [column for column in columns if column not in table.columns]:
            raise ValueError(
                f"`{setting}` names column {unknown[0]!r}, which {spec.table.name} does not have; "
                f"its columns are {list(table.columns)}"
            )


def _template_fields(value: str) -> list[str]:
    fields = [name for _, name, _, _ in Formatter().parse(value) if name is not None]
    return fields or [value]


def _studies(spec: CohortSpec, table: pd.DataFrame) -> tuple[Study, ...]:
    ids = table[spec.study_id].tolist()
    if "" in ids:
        raise ValueError(f"row {ids.index('') + 1} of {spec.table.name} has no {spec.study_id}; fill `study_id`")
    patients = _patients(spec, table, ids)
    splits = _splits(spec, table, patients, ids)
    labels = np.array([_label(spec, table, name, ids) for name in spec.labels]).reshape(len(spec.labels), len(ids)).T
    used = table[list(dict.fromkeys(column for columns in wanted_columns(spec).values() for column in columns))]
    return tuple(
        Study(
            study_id=ids[index],
            patient_id=patients[index],
            split=splits[index],
            sources=_sources(spec, row, ids[index]),
            labels=tuple(labels[index].tolist()),
            groups={group: row[group] for group in spec.groups},
        )
        for index, row in enumerate(dict(zip(used.columns, cells, strict=True)) for cells in used.to_numpy())
    )


def _patients(spec: CohortSpec, table: pd.DataFrame, ids: list[str]) -> list[str]:
    column = table[spec.patient_id["column"]]
    patients = column.tolist()
    if pattern := spec.patient_id.get("pattern"):
        matches = [re.search(pattern, value) for value in patients]
        patients = [match.group(1) if match and match.groups() else "" for match in matches]
    if "" in patients:
        raise ValueError(f"study {ids[patients.index('')]!r} has no patient; check `patient_id` in the cohort file")
    return patients


def _splits(spec: CohortSpec, table: pd.DataFrame, patients: list[str], ids: list[str]) -> list[str]:
    if isinstance(spec.split, str):
        splits = table[spec.split].tolist()
        for study, split in zip(ids, splits, strict=True):
            if split not in SPLITS:
                raise ValueError(f"study {study!r} has split {split!r}, expected one of {SPLITS}; see `split`")
        return splits
    return [_hashed_split(patient, spec.split) for patient in patients]


def _hashed_split(patient: str, shares: Mapping[str, float]) -> str:
    """Assign by hash, so that a growing cohort never moves a patient to another split."""
    digest = hashlib.sha256(f"{int(shares.get('seed', 0))}:{patient}".encode()).digest()
    place, edge = int.from_bytes(digest[:8], "big") / 2**64, 0.0
    for split in SPLITS:
        edge += shares.get(split, 0.0)
        if place < edge:
            return split
    return "train"


def _label(spec: CohortSpec, table: pd.DataFrame, name: str, ids: list[str]) -> list[float]:
    entry, cells = spec.labels[name], table[spec.labels[name]["column"]].tolist()
    if listed := entry.get("classes") or entry.get("levels"):
        return _places(name, cells, [str(one) for one in listed], ids)
    if values := entry.get("values"):
        numbers = {str(key): float(number) for key, number in values.items()}
        return [numbers.get(cell, float("nan")) for cell in cells]
    try:
        return [float(cell) if cell else float("nan") for cell in cells]
    except ValueError:
        wrong = next(index for index, cell in enumerate(cells) if cell and not _is_number(cell))
        raise ValueError(
            f"study {ids[wrong]!r} has {cells[wrong]!r} as label {name!r}, expected a number or blank; "
            f"set `labels.{name}.values` to say what its texts mean"
        ) from None


def _places(name: str, cells: Sequence[str], listed: Sequence[str], ids: Sequence[str]) -> list[float]:
    """Where each cell stands in a list; a text that is not in it is no guess."""
    place = {text: float(index) for index, text in enumerate(listed)}
    wrong = next((index for index, cell in enumerate(cells) if cell and cell not in place), None)
    if wrong is not None:
        raise ValueError(
            f"study {ids[wrong]!r} has {cells[wrong]!r} as label {name!r}, expected one of {list(listed)} or blank; "
            f"correct the cell or the list in `labels.{name}`"
        )
    return [place.get(cell, float("nan")) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _sources(spec: CohortSpec, row: Mapping[str, str], study: str) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for name, entry in spec.modalities.items():
        source: Source | None
        if "columns" in entry:
            cells = {column: row[column] for column in entry["columns"]}
            source = cells if any(cells.values()) else None
        elif "text" in entry:
            source = row[entry["text"]] or None
        else:
            source = _file(spec.root, entry["path"], row, name, study)
            if source is not None and "row" in entry:
                source = _array_row(source, row[entry["row"]], name, study)
        if source is not None:
            found[name] = source
    return found


def _file(root: Path, value: str, row: Mapping[str, str], name: str, study: str) -> Path | None:
    if "{" in value:
        return _matching_file(root, value, row, name, study)
    return root / row[value] if row[value] else None


def _array_row(file: Path, place: str, name: str, study: str) -> ArrayRow:
    if not place.isdecimal():
        raise ValueError(
            f"study {study!r} has {place!r} in the column of `modalities.{name}.row`, expected a row number from 0"
        )
    return ArrayRow(file, int(place))


def _matching_file(root: Path, template: str, row: Mapping[str, str], name: str, study: str) -> Path | None:
    filled = template.format_map(row)
    if not any(sign in filled for sign in _WILDCARDS):
        return root / filled if (root / filled).is_file() else None
    matches = sorted(root.glob(filled))
    if len(matches) > 1:
        raise ValueError(f"study {study!r}: {len(matches)} files match `modalities.{name}.path`; make it more exact")
    return matches[0] if matches else None


def file_of(source: Source) -> Path | None:
    """The file that a cohort names as a source; None for inline data."""
    if isinstance(source, ArrayRow):
        return source.file
    return source if isinstance(source, Path) else None


def _refuse_duplicates(spec: CohortSpec, studies: Sequence[Study]) -> None:
    repeated = [study for study, count in Counter(study.study_id for study in studies).items() if count > 1]
    if repeated:
        raise ValueError(f"duplicate study ids {repeated[:_NAMED]} ({len(repeated)} in all); `study_id` must be unique")


def _refuse_shared_patients(studies: Sequence[Study]) -> None:
    splits: dict[str, dict[str, str]] = {}
    for study in studies:
        splits.setdefault(study.patient_id, {})[study.split] = study.study_id
    if shared := [seen for seen in splits.values() if len(seen) > 1]:
        example = ", ".join(f"study {study!r} in {split}" for split, study in shared[0].items())
        raise ValueError(
            f"{len(shared)} patients are in more than one split (one of them: {example}); "
            "correct the `split` column, or give `split` shares to assign by patient"
        )


def _refuse_lost_sources(spec: CohortSpec, studies: Sequence[Study]) -> None:
    for name in spec.modalities:
        sources = [(study.study_id, study.sources[name]) for study in studies if name in study.sources]
        if not sources:
            raise ValueError(f"no study has modality {name!r}; correct `modalities.{name}` or leave it out")
        lost = [study for study, source in sources if (file := file_of(source)) and not file.is_file()]
        if lost:
            raise ValueError(
                f"the {name} source of {len(lost)} studies does not exist (studies {lost[:_NAMED]}); "
                f"correct the column of `modalities.{name}.path`, or `root`"
            )


def _fingerprint(spec: CohortSpec, table: pd.DataFrame, studies: Sequence[Study]) -> str:
    told = {key: value for key, value in asdict(spec).items() if key not in ("table", "root")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    digest.update(table.to_csv(index=False).encode())
    for study in studies:
        for name, source in study.sources.items():
            if file := file_of(source):
                digest.update(f"{study.study_id}/{name}/{file.name}/{file.stat().st_size}\n".encode())
    return digest.hexdigest()
