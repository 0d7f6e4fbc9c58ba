"""What a ``cohort.yaml`` says: which column of the table is what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from polyclinic.cohort.target import read_targets

_KEYS = {
    "table", "root", "encoding", "missing", "study_id", "patient_id", "population", "split", "modalities", "labels",
    "groups",
}  # fmt: skip
_REQUIRED = ("table", "study_id", "patient_id", "split", "modalities")
_SOURCE_KINDS = ({"path"}, {"path", "row"}, {"text"}, {"columns"})


@dataclass(frozen=True, kw_only=True)
class CohortSpec:
    """The parsed ``cohort.yaml``.

    Attributes:
        table: CSV or Parquet file, one row per study.
        root: folder that relative source paths start from; the table's folder unless set.
        encoding: of a CSV table.
        missing: cells that mean *no value*, beside the empty cell.
        study_id: column, unique per row.
        patient_id: column, or ``{column, pattern}`` whose first group of the regular expression is the patient.
        population: name of the register in which patient ids are unique, such as ``mimic-iv``: cohorts of one
            population share patients, and what one run saw is compared with what another is tested on.
        split: column of ``train``, ``val``, ``test``, or shares such as ``{train: 0.7, val: 0.1, test: 0.2,
            seed: 0}`` by which patients are assigned through a hash of their id.
        modalities: per name one of ``{path: column or template}``, ``{text: column}``, ``{columns: [...]}``, or for
            array files of many studies ``{path: column, row: column}``. A template such as ``images/{id}.*`` is filled
            from the row; a study without a matching file lacks it.
        labels: label name to ``{column}`` and at most one kind: a finding (cells 0, 1, -1 for uncertain) unless
            ``classes`` or, in order, ``levels`` list what cells say, or ``unit`` makes it a quantity. ``values`` maps
            cell text to a number, cells not in it being unknown; without it cells are numbers.
        groups: columns for subgroup analysis.
    """

    table: Path
    root: Path
    study_id: str
    patient_id: Mapping[str, str]
    split: str | Mapping[str, float]
    modalities: Mapping[str, Mapping[str, Any]]
    encoding: str = "utf-8"
    population: str = ""
    missing: tuple[str, ...] = ()
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


def read_spec(path: Path) -> CohortSpec:
    """Read and validate a ``cohort.yaml``.

    Raises:
        ValueError: not a readable YAML mapping, a key missing or unknown, or a modality without one source.
    """
    if not path.is_file():
        raise ValueError(f"cohort file {path.name!r} does not exist; set `--data.cohort` to a cohort.yaml")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path.name} holds {type(raw).__name__}, expected a mapping with keys {sorted(_KEYS)}")
    if unknown := sorted(set(raw) - _KEYS):
        raise ValueError(f"{path.name} has unknown keys {unknown}; expected {sorted(_KEYS)}")
    if absent := [key for key in _REQUIRED if not raw.get(key)]:
        raise ValueError(f"{path.name} lacks {absent}; set them")
    table = path.parent / raw["table"]
    return CohortSpec(
        table=table,
        root=path.parent / raw["root"] if raw.get("root") else table.parent,
        encoding=str(raw.get("encoding", "utf-8")),
        population=str(raw.get("population") or ""),
        missing=tuple(str(value) for value in raw.get("missing") or ()),
        study_id=str(raw["study_id"]),
        patient_id=_patient(raw["patient_id"]),
        split=_split(raw["split"]),
        modalities={str(name): _source(str(name), value) for name, value in raw["modalities"].items()},
        labels=_labels(raw.get("labels") or {}),
        groups=tuple(str(value) for value in raw.get("groups") or ()),
    )


def _patient(value: Any) -> Mapping[str, str]:
    if isinstance(value, dict):
        if set(value) != {"column", "pattern"}:
            raise ValueError(f"got patient_id {value}, expected a column or {{column, pattern}}")
        return {key: str(text) for key, text in value.items()}
    return {"column": str(value)}


def _split(value: Any) -> str | Mapping[str, float]:
    if not isinstance(value, dict):
        return str(value)
    shares = {name: share for name, share in value.items() if name != "seed"}
    known = set(shares) <= {"train", "val", "test"} and "train" in shares
    if not known or abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise ValueError(f"got split {value}, expected shares of train, val and test that sum to 1, and a seed")
    return {name: float(share) for name, share in value.items()}


def _source(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or set(value) not in _SOURCE_KINDS:
        raise ValueError(
            f"got modalities.{name} = {value!r}, expected one of {{path: ...}}, {{text: ...}}, {{columns: [...]}}, "
            "{path: ..., row: ...}"
        )
    return value


def _labels(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(value, list):
        return {str(name): {"column": str(name)} for name in value}
    labels = {str(name): entry for name, entry in value.items()}
    read_targets(labels)
    return labels
