"""De-identify the table and the cohort file: map ids, rewrite labels, scrub groups, and drop other columns."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import yaml

from polyclinic.cohort.cohort import Study, read_table, wanted_columns
from polyclinic.cohort.deidentify.study import Outcome
from polyclinic.cohort.folds import Folds
from polyclinic.cohort.schema import CohortSpec
from polyclinic.privacy.ages import capped_age, holds_age, holds_birth
from polyclinic.privacy.identifiers import identifying_fields
from polyclinic.privacy.identity import Identity

# Columns that name or number people, not examinations: their cells are removed from every text of the patient.
_PERSON = (
    r"(?:full|first|last|given|family|middle|maiden|pat(?:ient)?s?|physicians?|doctors?|nurse|operator|radiologist)"
)
_NAMING_COLUMN = re.compile(
    rf"^(?:name|pid|dob)$|{_PERSON}[ _-]?(?:name|id|no|num|number)|surname|forename|mrn|social[ _-]?security|accession"
    r"|(?:medical|health)[ _-]?(?:record|card)|record[ _-]?(?:no|num|id)|phone|address|e-?mail|insurance|birth"
    r"|(?:^|[^a-z])(?:nhs|ssn|dob|physician|doctor|radiologist)(?:$|[^a-z])",
    re.IGNORECASE,
)
_MAX_NAME_LENGTH = 60

Entry: TypeAlias = tuple[Study, Identity, Outcome]
"""A study, the identity of its patient, and the outcome of cleaning its sources."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of a cohort's table, by what de-identification does with them.

    Attributes:
        kept: columns that are kept.
        dropped: columns that are dropped.
        naming: dropped columns that may hold names.
        births: groups that are dropped because they hold dates or years of birth.
        cells: cells of the ``naming`` columns.
    """

    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    naming: tuple[str, ...]
    births: tuple[str, ...]
    cells: pd.DataFrame = field(repr=False)

    def names(self, row: int) -> list[str]:
        """Return the cells of a row that may be names."""
        cells = [str(self.cells[column].iloc[row]) for column in self.naming]
        return [cell for cell in cells if 0 < len(cell) <= _MAX_NAME_LENGTH]

    def as_record(self) -> dict[str, Any]:
        """Return the names of the columns; dropped columns whose name identifies somebody are only counted."""
        safe = [name for name in self.dropped if not identifying_fields(name)]
        unnamed = len(self.dropped) - len(safe)
        return {
            "kept": list(self.kept), "dropped": safe, "dropped_unnamed": unnamed, "groups_of_births": list(self.births)
        }  # fmt: skip


def read_columns(spec: CohortSpec) -> Columns:
    """Classify the columns of a cohort's table.

    Raises:
        ValueError: a label holds dates or years of birth.
    """
    table = read_table(spec)
    wanted = wanted_columns(spec)
    used = {column for columns in wanted.values() for column in columns}
    content = {*spec.groups, *(entry["column"] for entry in spec.labels.values())}
    content |= {column for entry in spec.modalities.values() for column in entry.get("columns", [])}
    births = tuple(name for name in spec.groups if holds_birth(name, map(str, table[name])))
    for name, entry in spec.labels.items():
        if not entry.get("values") and holds_birth(entry["column"], map(str, table[entry["column"]])):
            raise ValueError(
                f"label {name!r} holds dates or years of birth, which must be removed; remove it from `labels`"
            )
    naming = [
        name for name in table.columns if name not in content and (name not in used) and _NAMING_COLUMN.search(name)
    ]
    return Columns(
        kept=tuple(name for name in table.columns if name in used and name not in births),
        dropped=tuple(name for name in table.columns if name not in used or name in births),
        naming=tuple(naming),
        births=births,
        cells=table[naming],
    )


def write_table(
    out: Path,
    spec: CohortSpec,
    studies: Sequence[Entry],
) -> Counter[str]:
    """Write ``cohort.csv``, in the order of the mapped ids, and ``cohort.yaml``.

    Args:
        out: folder with the cleaned files of the studies.
        spec: specification of the original cohort.
        studies: studies with the identities of their patients and the outcomes of cleaning.

    Returns:
        Number of cells of groups and labels that were removed or changed, by kind.
    """
    removed = Counter[str]()
    taken = {"study_id", "patient_id", "split", *spec.groups}
    present = [name for name in spec.modalities if any(name in outcome.cleaned for _, _, outcome in studies)]
    cells_of = {name: _cell_columns(name, studies) for name in present if "columns" in spec.modalities[name]}
    taken.update(column for columns in cells_of.values() for column in columns)
    labels = {name: _free(name, taken) for name in spec.labels}
    files = {name: _free(name, taken) for name in present if name not in cells_of}
    rows = [_row(spec, entry, out, labels, files, removed) for entry in studies]
    cell_columns = [column for columns in cells_of.values() for column in columns]
    split = [] if isinstance(spec.split, Folds) else ["split"]
    order = ["study_id", "patient_id", *split, *spec.groups, *cell_columns]
    order = list(dict.fromkeys([*order, *labels.values(), *files.values()]))
    table = pd.DataFrame(rows, columns=order).fillna("").sort_values("study_id")
    table.to_csv(out / "cohort.csv", index=False)
    new_spec = _spec(spec, studies[0][1], labels, {**files, **cells_of})
    text = yaml.safe_dump(new_spec, sort_keys=False, allow_unicode=True)
    (out / "cohort.yaml").write_text(f"# written by: polyclinic deidentify\n{text}", encoding="utf-8")
    return +removed


def _cell_columns(name: str, studies: Sequence[Entry]) -> list[str]:
    found: dict[str, None] = {}
    for _, _, outcome in studies:
        if name in outcome.cleaned:
            source = outcome.cleaned[name].source
            assert isinstance(source, Mapping), "a source of cells must be cleaned to cells"
            found.update(dict.fromkeys(source))
    return list(found)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _row(
    spec: CohortSpec,
    entry: Entry,
    out: Path,
    labels: Mapping[str, str],
    files: Mapping[str, str],
    removed: Counter[str],
) -> dict[str, str]:
    study, identity, outcome = entry
    row = {group: _group(group, study.groups[group], identity, removed) for group in spec.groups}
    for name, value in zip(spec.labels, study.labels, strict=True):
        row[labels[name]] = _label(name, spec.labels[name], value, removed)
    for name, cleaned in outcome.cleaned.items():
        if isinstance(cleaned.source, Mapping):
            row |= {column: cell for column, cell in cleaned.source.items() if cell or column not in row}
        else:
            source = cleaned.source
            row[files[name]] = source.relative_to(out).as_posix() if isinstance(source, Path) else str(source)
    ids = {"study_id": identity.mapped("study", study.study_id), "patient_id": identity.patient_id}
    return row | ids | {"split": study.split}


def _group(name: str, cell: str, identity: Identity, removed: Counter[str]) -> str:
    """Return the cell of a group: empty where it seems identifying; ages over 89 become 90, and bands ``90+``."""
    if holds_age(name) and (capped := capped_age(name, cell)) is not None:
        removed["ages"] += capped != cell
        return capped
    if identity.text(cell)[1] or identifying_fields(cell):
        removed["cells of groups"] += 1
        return ""
    return cell


def _label(name: str, entry: Mapping[str, Any], value: float, removed: Counter[str]) -> str:
    """Return the parsed value of a label as text, never the original cell."""
    if value != value:
        return ""
    if listed := entry.get("classes") or entry.get("levels"):
        return str(listed[int(value)])
    text = repr(value).removesuffix(".0")
    if any(map(holds_age, (name, entry["column"]))) and (capped := capped_age(name, text)) is not None:
        removed["ages"] += 1
        return capped
    return text


def _spec(
    spec: CohortSpec,
    identity: Identity,
    columns: Mapping[str, str],
    sources: Mapping[str, str | Sequence[str]],
) -> dict[str, Any]:
    modalities: dict[str, Any] = {}
    for name in (name for name in spec.modalities if name in sources):
        kind = next(kind for kind in ("columns", "text", "path", "meds") if kind in spec.modalities[name])
        kind = "path" if kind == "meds" else kind  # a window is written as a file of its events
        modalities[name] = {kind: list(sources[name]) if kind == "columns" else sources[name]}
    labels = {
        name: {"column": columns[name], **{key: entry[key] for key in ("classes", "levels", "unit") if key in entry}}
        for name, entry in spec.labels.items()
    }
    content: dict[str, Any] = {"table": "cohort.csv", "study_id": "study_id", "patient_id": "patient_id"}
    if spec.population:
        # Each key makes a population of its mapped ids: those of different keys must not be compared.
        content["population"] = f"{spec.population}-{identity.mapped('population', spec.population)[:8]}"
    # Ids change, so that the same setting makes other folds of the same kind.
    content |= {"split": _fold_settings(spec.split) if isinstance(spec.split, Folds) else "split"}
    content["modalities"] = modalities
    if labels:
        content["labels"] = labels
    if spec.groups:
        content["groups"] = list(spec.groups)
    return content


def _fold_settings(folds: Folds) -> dict[str, Any]:
    kind = {"leave_out": folds.leave_out} if folds.leave_out else {"folds": folds.number}
    return {**kind, "val": folds.val, "seed": folds.seed}
