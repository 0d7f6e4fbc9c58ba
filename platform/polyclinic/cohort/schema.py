"""Schema of ``cohort.yaml``: modalities, splits, and label columns with their targets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyclinic.cohort.cells import CellNames, read_number
from polyclinic.cohort.files import read_template
from polyclinic.cohort.folds import MAX_FOLDS, Folds
from polyclinic.cohort.row_filter import RowFilter
from polyclinic.files.kinds import COHORT, refuse_other_kind
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.nn.targets import Kind, Target
from polyclinic.system.names import refuse_unknown

_KIND_OF_KEY: dict[str, Kind] = {"classes": "class", "levels": "level"}
_TARGET_KEYS = {"column", "values", "classes", "levels", "unit", "pattern"}


def read_targets(labels: Mapping[str, Mapping[str, Any]]) -> tuple[Target, ...]:
    """Return the targets described by the ``labels`` of a ``cohort.yaml``.

    Raises:
        ValueError: unknown keys, more than one kind, or classes or levels that are not two or more distinct texts.
    """
    return tuple(_target(name, entry) for name, entry in labels.items())


def _target(name: str, entry: Mapping[str, Any]) -> Target:
    if not isinstance(entry, Mapping) or not {"column"} <= set(entry) <= _TARGET_KEYS:
        raise ValueError(
            f"got labels.{name} = {entry!r}, expected a column with at most one of values, classes, levels, unit and "
            "pattern, or a list of columns"
        )
    if not isinstance(entry["column"], str):
        raise ValueError(f"got labels.{name}.column = {entry['column']!r}, expected a text; set it")
    if "values" in entry:
        _refuse_equivalent(f"labels.{name}.values", list(entry["values"]))
    kinds = [key for key in ("classes", "levels", "unit", "pattern") if key in entry]
    if len(kinds) > 1 or ("values" in entry and kinds and kinds != ["unit"]):
        raise ValueError(f"got labels.{name} with {sorted(set(entry) - {'column'})}, expected one of them; remove some")
    if kinds == ["pattern"]:
        _refuse_no_pattern(f"labels.{name}.pattern", entry["pattern"])
    if not kinds or kinds == ["pattern"]:
        return Target(name=name)
    if kinds == ["unit"]:
        return Target(name=name, kind="quantity", unit=str(entry["unit"]))
    names = entry[kinds[0]]
    are_texts = isinstance(names, list) and all(isinstance(text, str) and text.strip() for text in names)
    if not are_texts or len(names) < 2:
        raise ValueError(
            f"got labels.{name}.{kinds[0]} = {names!r}, expected a list of two or more different texts, spelled as in "
            "the cells; set it"
        )
    _refuse_equivalent(f"labels.{name}.{kinds[0]}", names)
    return Target(name=name, kind=_KIND_OF_KEY[kinds[0]], names=tuple(names))


def _refuse_no_pattern(setting: str, pattern: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"got {setting} = {pattern!r}, which is not a regular expression ({error}); set it") from None


def _refuse_equivalent(setting: str, names: Sequence[str]) -> None:
    try:
        CellNames(names)
    except ValueError as error:
        raise ValueError(f"got {setting} in which {error}") from None


_KEYS = {
    "table", "root", "encoding", "missing", "study_id", "patient_id", "population", "split", "modalities", "labels",
    "groups", "where",
}  # fmt: skip
_REQUIRED = ("table", "study_id", "patient_id", "split", "modalities")
_TEXT_KEYS = ("table", "root", "encoding", "population", "study_id", "where")
_LIST_KEYS = ("missing", "groups")
_YAML_NULLS = ("", "~", "null", "Null", "NULL")
_SOURCE_KINDS = ({"path"}, {"path", "row"}, {"text"}, {"columns"})
_EVENT_KEYS = {"meds", "time", "before", "after", "codes", "subject"}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(min|h|d)")
_SECONDS = {"min": 60, "h": 3600, "d": 86_400}
_MAX_SECONDS = 200 * 366 * 86_400


@dataclass(frozen=True, kw_only=True)
class CohortSpec:
    """The parsed ``cohort.yaml``.

    Attributes:
        table: CSV or Parquet file with one row per study.
        root: base folder of relative source paths; the table's folder unless set.
        study_id: column with an id that is unique per row.
        patient_id: column, or ``{column, pattern}``: the first group of the regular expression is the patient.
        split: column of ``train``, ``val``, ``test``, or shares such as ``{train: 0.7, val: 0.1, test: 0.2,
            seed: 0}``, by which patients are assigned through a hash of their id. For cross-validation, ``{folds: 5,
            val: 0.15, seed: 0}`` makes folds of patients that are alike in labels and groups, and ``{leave_out:
            site}`` a fold of each value of a group.
        modalities: source of each modality: ``{path: column or template}``, ``{text: column}``, ``{columns: [...]}``,
            or ``{path: column, row: column}`` for array files of many studies. ``{meds: folder, time: column}`` is a
            window of events around a time; see ``event_windows``. A template such as ``images/{id}.*`` is
            filled from the row; the modality is missing for a study with an empty cell or without a matching file.
        encoding: encoding of a CSV table; a byte order mark takes precedence.
        population: name of the register in which patient ids are unique, such as ``mimic-iv``: cohorts of one
            population share patients, and are compared for leakage.
        missing: cells that mean *no value*, besides the empty cell; numbers are compared as numbers in columns of
            values (``-999`` is ``-999.0``), and as text elsewhere.
        labels: label name to ``{column}`` and at most one kind: a finding (cells 0, 1, -1 for uncertain) unless
            ``classes`` or the ordered ``levels`` list the cell texts, or ``unit`` makes it a quantity. ``values`` maps
            cell text to a number, or to ``null`` for unknown; unlisted cells of a finding count as unknown, and
            unlisted numbers of a quantity are kept. Without ``values``, cells are numbers. ``pattern`` is a regular
            expression: the finding is present where it occurs in the cell, and absent in any other text.
        groups: columns for subgroup analysis.
        where: condition on the rows of the table to use; see ``RowFilter``.
    """

    table: Path
    root: Path
    study_id: str
    patient_id: Mapping[str, str]
    split: str | Mapping[str, float] | Folds
    modalities: Mapping[str, Mapping[str, Any]]
    encoding: str = "utf-8"
    population: str = ""
    missing: tuple[str, ...] = ()
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    where: RowFilter | None = None


def read_spec(path: Path) -> CohortSpec:
    """Read and validate a ``cohort.yaml``.

    Raises:
        ValueError: the file is not a readable YAML mapping, a key is missing or unknown, or a modality does not have
            exactly one source.
    """
    refuse_other_kind(path, COHORT, "name a cohort.yaml")
    if not path.is_file():
        raise ValueError(f"cohort file {path.name!r} does not exist; set `--data.cohort` to a cohort.yaml")
    raw = load_yaml(path.read_bytes(), name=path.name, as_text=True)
    if not isinstance(raw, dict):
        raise ValueError(f"{path.name} holds {type(raw).__name__}, expected a mapping with keys {sorted(_KEYS)}")
    refuse_unknown(f"key of {path.name}", raw, sorted(_KEYS), "correct or remove it")
    raw = {key: value for key, value in raw.items() if value not in _YAML_NULLS}
    if absent := [key for key in _REQUIRED if not raw.get(key)]:
        raise ValueError(f"{path.name} lacks {absent}; set them")
    texts = {key: _text(key, raw[key]) for key in _TEXT_KEYS if key in raw}
    lists = {key: _texts(key, raw[key]) for key in _LIST_KEYS if key in raw}
    table = path.parent / texts["table"]
    groups = lists.get("groups", ())
    split = _split(raw["split"])
    if isinstance(split, Folds) and split.leave_out:
        refuse_unknown(
            "split.leave_out", [split.leave_out], groups, "set it to a column that `groups` lists, or list it there"
        )
    return CohortSpec(
        table=table,
        root=path.parent / texts["root"] if "root" in texts else table.parent,
        encoding=texts.get("encoding", "utf-8"),
        population=texts.get("population", ""),
        missing=lists.get("missing", ()),
        study_id=texts["study_id"],
        patient_id=_patient(raw["patient_id"]),
        split=split,
        modalities=_modalities(raw["modalities"]),
        labels=_labels(raw.get("labels", [])),
        groups=groups,
        where=RowFilter(texts["where"]) if "where" in texts else None,
    )


def wanted_columns(spec: CohortSpec) -> dict[str, list[str]]:
    """Return the columns that each setting names."""
    wanted = {"study_id": [spec.study_id], "patient_id": [spec.patient_id["column"]], "groups": list(spec.groups)}
    if isinstance(spec.split, str):
        wanted["split"] = [spec.split]
    if spec.where is not None:
        wanted["where"] = list(spec.where.columns)
    for name, source in spec.modalities.items():
        for kind, value in source.items():
            setting = f"modalities.{name}.{kind}"
            if "meds" in source and kind not in ("time", "subject"):
                continue
            if kind == "columns":
                wanted[setting] = value
            elif kind == "path" and "{" in value:
                wanted[setting] = list(read_template(value, setting).columns)
            else:
                wanted[setting] = [value]
    for name, label in spec.labels.items():
        wanted[f"labels.{name}"] = [label["column"]]
    return wanted


def _text(setting: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"got {setting} = {value!r}, expected a text; set `{setting}`")
    return value.strip()


def _texts(setting: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"got {setting} = {value!r}, expected a list such as [{value}]; set `{setting}`")
    return tuple(_text(setting, text) for text in value)


def _number(setting: str, value: Any) -> float:
    """Parse a YAML number, integers as ``int``."""
    number = read_number(value.strip()) if isinstance(value, str) else None
    if number is None:
        raise ValueError(f"got {setting} = {value!r}, expected a number; set `{setting}`")
    return float(number) if any(character in value for character in ".eE") else int(number)


def _patient(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {"column": _text("patient_id", value)}
    if set(value) != {"column", "pattern"}:
        raise ValueError(f"got patient_id {value}, expected a column or {{column, pattern}}")
    patient = {key: _text(f"patient_id.{key}", text) for key, text in value.items()}
    try:
        groups = re.compile(patient["pattern"]).groups
    except re.error as error:
        raise ValueError(
            f"got patient_id.pattern {patient['pattern']!r}, which is not a regular expression ({error})"
        ) from None
    if not groups:
        raise ValueError(f"got patient_id.pattern {patient['pattern']!r}, expected a group in it, such as (\\d+)")
    return patient


def _split(value: Any) -> str | Mapping[str, float] | Folds:
    if not isinstance(value, dict):
        return _text("split", value)
    if {"folds", "leave_out"} & set(value):
        return _folds(value)
    numbers = {name: _number(f"split.{name}", share) for name, share in value.items()}
    shares = {name: share for name, share in numbers.items() if name != "seed"}
    are_splits = set(shares) <= {"train", "val", "test"} and "train" in shares
    if not are_splits or abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise ValueError(f"got split {value}, expected shares of train, val and test that sum to 1, and a seed")
    return {name: float(share) for name, share in numbers.items()}


def _folds(value: Mapping[str, Any]) -> Folds:
    kinds = {"folds", "leave_out"} & set(value)
    if len(kinds) != 1 or not set(value) <= {*kinds, "val", "seed"}:
        raise ValueError(
            f"got split {value}, expected folds or leave_out, with val and seed, such as {{folds: 5, val: 0.15, seed: "
            "0}; set it"
        )
    numbers = {name: _number(f"split.{name}", value[name]) for name in ("folds", "val", "seed") if name in value}
    number, val = numbers.get("folds", 0), numbers.get("val", Folds.val)
    if "folds" in value and not (isinstance(number, int) and 2 <= number <= MAX_FOLDS):
        raise ValueError(f"got split.folds {value['folds']}, expected a number from 2 to {MAX_FOLDS}; set it")
    if not 0 <= val < 1:
        raise ValueError(f"got split.val {value['val']}, expected a share of 0 or more and below 1; set it")
    leave_out = _text("split.leave_out", value["leave_out"]) if "leave_out" in value else ""
    return Folds(number=int(number), leave_out=leave_out, val=val, seed=int(numbers.get("seed", 0)))


def _modalities(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, dict):
        raise ValueError(f"got modalities = {value!r}, expected a mapping such as {{xray: {{path: column}}}}; set it")
    return {name: _source(name, entry) for name, entry in value.items()}


def _source(name: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict) and "meds" in value:
        return _event_source(name, value)
    if not isinstance(value, dict) or set(value) not in _SOURCE_KINDS:
        raise ValueError(
            f"got modalities.{name} = {value!r}, expected one of {{path: ...}}, {{text: ...}}, {{columns: [...]}}, "
            "{path: ..., row: ...}, {meds: ..., time: ...}"
        )
    return {
        kind: list(_texts(f"modalities.{name}.{kind}", entry))
        if kind == "columns"
        else _text(f"modalities.{name}.{kind}", entry)
        for kind, entry in value.items()
    }


def _event_source(name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not {"meds", "time"} <= set(value) <= _EVENT_KEYS:
        raise ValueError(
            f"got modalities.{name} with {sorted(value)}, expected meds and time, and at most before, after, codes and "
            "subject; set them"
        )
    source: dict[str, Any] = {
        key: _text(f"modalities.{name}.{key}", value[key]) for key in ("meds", "time", "subject") if key in value
    }
    for key, default in (("before", "24h"), ("after", "0h")):
        source[key] = _seconds(f"modalities.{name}.{key}", value.get(key, default))
    codes = _texts(f"modalities.{name}.codes", value.get("codes", []))
    if "codes" in value and (not codes or "" in codes):
        raise ValueError(f"got modalities.{name}.codes = {value['codes']!r}, expected codes; list them or remove it")
    return {**source, "codes": list(codes)}


def _seconds(setting: str, value: Any) -> float:
    """Parse a duration such as ``24h``, ``90min`` or ``7d``."""
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or (seconds := float(match[1]) * _SECONDS[match[2]]) > _MAX_SECONDS:
        raise ValueError(f"got {setting} = {value!r}, expected a duration such as 24h, 90min or 7d; set it")
    return seconds


def _labels(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(value, list):
        return {name: {"column": name} for name in _texts("labels", value)}
    if not isinstance(value, dict):
        raise ValueError(f"got labels = {value!r}, expected a list of columns, or a mapping by name; set `labels`")
    labels = {name: _label(name, entry) for name, entry in value.items()}
    read_targets(labels)
    return labels


def _label(name: str, entry: Any) -> Any:
    """Return the entry of a label with its `values` parsed to numbers; ``read_targets`` validates the rest."""
    if not isinstance(entry, dict):
        raise ValueError(f"got labels.{name} = {entry!r}, expected a mapping such as {{column: {name}}}; set it")
    if "values" not in entry:
        return entry
    values, setting = entry["values"], f"labels.{name}.values"
    if not isinstance(values, dict) or not values:
        raise ValueError(f"got {setting} = {values!r}, expected a mapping such as {{positive: 1, negative: 0}}; set it")
    return entry | {"values": {cell: _label_value(setting, number) for cell, number in values.items()}}


def _label_value(setting: str, value: Any) -> float:
    if value in (*_YAML_NULLS, ".nan"):
        return float("nan")
    return {"true": 1, "false": 0}[value] if value in ("true", "false") else _number(setting, value)
