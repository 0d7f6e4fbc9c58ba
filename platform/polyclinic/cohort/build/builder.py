"""Base class of cohort builders, and the flow diagram of excluded rows (CONSORT 2010)."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import duckdb
from rich.console import Console
from rich.text import Text

from polyclinic.cohort.build.data_root import DataRoot


@dataclass(kw_only=True)
class Arm:
    """Flow of the rows of one table.

    Attributes:
        description: description of a row and its origin.
        start: number of rows before any exclusion.
        events: exclusions and counts in order: ``(kind, reason, rows)``.
    """

    description: str
    start: int
    events: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def remain(self) -> int:
        """Number of rows after all exclusions."""
        return self.start - sum(count for kind, _, count in self.events if kind == "excluded")


class Flow:
    """Apply exclusions to tables, and count the excluded rows.

    Args:
        connection: connection with the tables.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.arms: dict[str, Arm] = {}

    def start(self, table: str, description: str) -> None:
        """Start the arm of a table; describe its rows, such as ``admissions in hosp/admissions.csv.gz``."""
        self.arms[table] = Arm(description=description, start=self._count(table))

    def exclude(self, table: str, reason: str, where: str) -> None:
        """Delete the rows for which the SQL condition ``where`` is true."""
        count = self._count(table, where)
        self._connection.execute(f"DELETE FROM {table} WHERE {where}")
        self.arms[table].events.append(("excluded", reason, count))

    def count(self, table: str, reason: str, where: str) -> None:
        """Count the remaining rows for which the SQL condition ``where`` is true."""
        self.arms[table].events.append(("counted", reason, self._count(table, where)))

    def as_json(self) -> list[dict[str, Any]]:
        """Return the arms in order, as plain JSON values."""
        return [
            {
                "description": arm.description,
                "start": arm.start,
                "events": [{"kind": kind, "reason": reason, "rows": rows} for kind, reason, rows in arm.events],
                "remain": arm.remain,
            }
            for arm in self.arms.values()
        ]

    def show(self, console: Console) -> None:
        """Print one flow diagram per table."""
        for arm in self.arms.values():
            console.print(Text.assemble((f"{arm.start:>10,}", "bold"), f"  {arm.description}"), soft_wrap=True)
            for kind, reason, rows in arm.events:
                line = f"{rows:>10,}  excluded: {reason}" if kind == "excluded" else f"{rows:>10,}  of these {reason}"
                console.print(
                    f"{'│':>10}  {'├─▶' if kind == 'excluded' else '│  '} {line}", highlight=False, soft_wrap=True
                )
            remain = Text.assemble(f"{'▼':>10}\n", (f"{arm.remain:>10,}", "bold"), "  remain\n")
            console.print(remain, soft_wrap=True)

    def _count(self, table: str, where: str = "true") -> int:
        found = self._connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
        assert found is not None
        return int(found[0])


ENTRY_POINTS = "polyclinic.cohorts"


@dataclass(frozen=True, kw_only=True)
class Built:
    """Cohort that a builder made from a data set.

    Attributes:
        table: table of the connection with one row per study: ``study_id``, ``patient_id``, ``split`` (train, val or
            test) and every column that the other attributes name.
        root: base folder of the source paths in the table.
        population: register in which patient ids are unique.
        modalities: entry ``modalities`` of ``cohort.yaml``.
        labels: entry ``labels`` of ``cohort.yaml``.
        groups: columns for subgroup analysis.
        plugins: ``class_path`` and ``init_args`` of modalities whose default settings do not fit the data set.
        tables: further tables to write, by the stem of their file.
        notes: decisions that a user of the cohort should know.
    """

    table: str
    root: Path
    population: str
    modalities: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: Sequence[str] = ()
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


class CohortBuilder(ABC):
    """Builder of a cohort from one public data set.

    Every constructor argument is an option of ``polyclinic cohort build NAME``, and an attribute of the same name.
    """

    unverified: ClassVar[tuple[str, ...]] = ()
    """Assumptions of this builder about the data set that no public source confirms."""

    @abstractmethod
    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Create the table of studies in ``root.connection``.

        Args:
            root: data set, which is only read.
            flow: flow through which rows are excluded and counted.

        Raises:
            ValueError: an expected file or column is missing.
        """

    def settings(self) -> dict[str, Any]:
        """Return the constructor arguments by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


def installed_builders() -> dict[str, type[CohortBuilder]]:
    """Load every builder of the entry-point group ``polyclinic.cohorts``, by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name)}
