"""The table and the cohort file that leave: ids mapped, labels as values, groups scrubbed, every other column gone."""

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
from polyclinic.cohort.schema import CohortSpec
from polyclinic.privacy.ages import capped_age, holds_age, holds_birth
from polyclinic.privacy.identifiers import identifying_fields
from polyclinic.privacy.identity import Identity

# Of people, not of examinations: what stands in these columns is taken out of every text.
_WHO = r"(?:full|first|last|given|family|middle|maiden|pat(?:ient)?s?|physicians?|doctors?|nurse|operator|radiologist)"
_NAMING = re.compile(
    rf"^(?:name|pid|dob)$|{_WHO}[ _-]?(?:name|id|no|num|number)|surname|forename|mrn|social[ _-]?security|accession"
    r"|(?:medical|health)[ _-]?(?:record|card)|record[ _-]?(?:no|num|id)|phone|address|e-?mail|insurance|birth"
    r"|(?:^|[^a-z])(?:nhs|ssn|dob|physician|doctor|radiologist)(?:$|[^a-z])",
    re.IGNORECASE,
)
_LONGEST_NAME = 60

Entry: TypeAlias = tuple[Study, Identity, Outcome]
"""A study, its patient, and what became of its sources."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a cohort's table: those that stay, those that do not, and those that may hold names.

    Attributes:
        births: groups that do not stay because they hold dates or years of birth.
    """

    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    naming: tuple[str, ...]
    births: tuple[str, ...]
    cells: pd.DataFrame = field(repr=False)

    def names(self, row: int) -> list[str]:
        """What the columns that may hold names say of one study."""
        cells = [str(self.cells[column].iloc[row]) for column in self.naming]
        return [cell for cell in cells if 0 < len(cell) <= _LONGEST_NAME]

    def told(self) -> dict[str, Any]:
        """Names of columns; of dropped ones only such as name nobody themselves."""
        safe = [name for name in self.dropped if not identifying_fields(name)]
        unnamed = len(self.dropped) - len(safe)
        return {
            "kept": list(self.kept), "dropped": safe, "dropped_unnamed": unnamed, "groups_of_births": list(self.births)
        }  # fmt: skip


def read_columns(spec: CohortSpec) -> Columns:
    """Which columns the cohort file names, and what stands in the others."""
    table = read_table(spec)
    wanted = wanted_columns(spec)
    used = {column for columns in wanted.values() for column in columns}
    content = {*spec.groups, *(entry["column"] for entry in spec.labels.values())}
    content |= {column for entry in spec.modalities.values() for column in entry.get("columns", [])}
    births = tuple(name for name in spec.groups if holds_birth(name, map(str, table[name])))
    for name, entry in spec.labels.items():
        if not entry.get("values") and holds_birth(entry["column"], map(str, table[entry["column"]])):
            raise ValueError(
                f"label {name!r} holds dates or years of birth, which may not leave; take it out of `labels`"
            )
    naming = [name for name in table.columns if name not in content and (name not in used) and _NAMING.search(name)]
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
        out: where the files of the studies are.
        spec: of the cohort that they come from.
        studies: each with its patient and what became of its sources.

    Returns:
        How many cells of groups and labels were removed or changed.
    """
    removed = Counter[str]()
    taken = {"study_id", "patient_id", "split", *spec.groups}
    present = [name for name in spec.modalities if any(name in outcome.cleaned for _, _, outcome in studies)]
    cells_of = {name: _cell_columns(name, studies) for name in present if "columns" in spec.modalities[name]}
    taken.update(column for columns in cells_of.values() for column in columns)
    labels = {name: _free(name, taken) for name in spec.labels}
    files = {name: _free(name, taken) for name in present if name not in cells_of}
    rows = [_row(spec, entry, out, labels, files, removed) for entry in studies]
    order = ["study_id", "patient_id", "split", *spec.groups, *(name for many in cells_of.values() for name in many)]
    order = list(dict.fromkeys([*order, *labels.values(), *files.values()]))
    table = pd.DataFrame(rows, columns=order).fillna("").sort_values("study_id")
    table.to_csv(out / "cohort.csv", index=False)
    told = _spec(spec, studies[0][1], labels, {**files, **cells_of})
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    (out / "cohort.yaml").write_text(f"# written by: polyclinic deidentify\n{text}", encoding="utf-8")
    return +removed


def _cell_columns(name: str, studies: Sequence[Entry]) -> list[str]:
    found: dict[str, None] = {}
    for _, _, outcome in studies:
        if name in outcome.cleaned:
            source = outcome.cleaned[name].source
            assert isinstance(source, Mapping), "what came as cells goes as cells"
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
    """The cell of a group; empty where it seems to identify; ages over 89 are 90, bands of them ``90+``."""
    if holds_age(name) and (capped := capped_age(name, cell)) is not None:
        removed["ages"] += capped != cell
        return capped
    if identity.text(cell)[1] or identifying_fields(cell):
        removed["cells of groups"] += 1
        return ""
    return cell


def _label(name: str, entry: Mapping[str, Any], value: float, removed: Counter[str]) -> str:
    """The value that the cell was read as, never the cell."""
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
        kind = next(kind for kind in ("columns", "text", "path") if kind in spec.modalities[name])
        modalities[name] = {kind: list(sources[name]) if kind == "columns" else sources[name]}
    labels = {
        name: {"column": columns[name], **{key: entry[key] for key in ("classes", "levels", "unit") if key in entry}}
        for name, entry in spec.labels.items()
    }
    told: dict[str, Any] = {"table": "cohort.csv", "study_id": "study_id", "patient_id": "patient_id"}
    if spec.population:
        # Ids of another key are of another population: they must not be compared.
        told["population"] = f"{spec.population}-{identity.mapped('population', spec.population)[:8]}"
    told |= {"split": "split", "modalities": modalities}
    if labels:
        told["labels"] = labels
    if spec.groups:
        told["groups"] = list(spec.groups)
    return told
