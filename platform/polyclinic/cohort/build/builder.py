"""Base class of cohort builders, and the flow diagram of included and excluded rows (CONSORT 2010)."""

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
    """What happened to the rows of one table.

    Attributes:
        description: what a row is and where it came from.
        start: rows at first.
        events: what was excluded and what was only counted, in order: ``(kind, reason, rows)``.
    """

    description: str
    start: int
    events: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def remain(self) -> int:
        """Rows that were not excluded."""
        return self.start - sum(count for kind, _, count in self.events if kind == "excluded")


class Flow:
    """Counts exclusions while it makes them.

    Args:
        connection: that holds the tables.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.arms: dict[str, Arm] = {}

    def start(self, table: str, description: str) -> None:
        """Begin with all rows of a table, such as ``admissions in hosp/admissions.csv.gz``."""
        self.arms[table] = Arm(description=description, start=self._count(table))

    def exclude(self, table: str, reason: str, where: str) -> None:
        """Delete the rows for which ``where``, a condition in SQL, is true."""
        count = self._count(table, where)
        self._connection.execute(f"DELETE FROM {table} WHERE {where}")
        self.arms[table].events.append(("excluded", reason, count))

    def count(self, table: str, reason: str, where: str) -> None:
        """Count how many of the remaining rows there are of a kind."""
        self.arms[table].events.append(("counted", reason, self._count(table, where)))

    def as_json(self) -> list[dict[str, Any]]:
        """The arms, in order."""
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
        """Print one diagram per table."""
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
    """What a builder made of a data set.

    Attributes:
        table: of the connection, one row per study, with ``study_id``, ``patient_id``, ``split`` (train, val or test)
            and every column that the rest names.
        root: folder that the paths in it start from.
        population: register in which patient ids are unique.
        modalities: as in ``cohort.yaml``.
        labels: as in ``cohort.yaml``.
        groups: columns for subgroups.
        plugins: settings of modalities whose defaults do not suit these columns, by modality: ``class_path`` and
            ``init_args``.
        tables: further tables to keep, by the name of their file.
        notes: decisions that a reader of the cohort should know.
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
    """How one public data set becomes a cohort: what a study is, where its files lie, and what is known of it.

    Every constructor argument is an option of ``polyclinic cohort build NAME`` and is kept under its own name.
    """

    unverified: ClassVar[tuple[str, ...]] = ()
    """Facts about the data set that this builder relies on and that no public source confirms."""

    @abstractmethod
    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Make the table of studies in ``root.connection``.

        Args:
            root: the data set; its files are read, never written.
            flow: where every row that is left out is counted, with the reason.

        Raises:
            ValueError: a file or a column that the layout has is not there.
        """

    def settings(self) -> dict[str, Any]:
        """The constructor arguments, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


def installed_builders() -> dict[str, type[CohortBuilder]]:
    """Load every builder registered under the entry-point group ``polyclinic.cohorts``, by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name)}
