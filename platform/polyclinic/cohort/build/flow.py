"""How many rows came in, how many were left out and why: the flow diagram of a trial report (CONSORT 2010)."""

from dataclasses import dataclass, field
from typing import Any

import duckdb
from rich.console import Console
from rich.text import Text


@dataclass(kw_only=True)
class Arm:
    """What happened to the rows of one table.

    Attributes:
        said: what a row is and where it came from.
        start: rows at first.
        events: what was excluded and what was only counted, in order: ``(kind, reason, rows)``.
    """

    said: str
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

    def start(self, table: str, said: str) -> None:
        """Begin with all rows of a table, such as ``admissions in hosp/admissions.csv.gz``."""
        self.arms[table] = Arm(said=said, start=self._count(table))

    def exclude(self, table: str, reason: str, where: str) -> None:
        """Delete the rows for which ``where``, a condition in SQL, is true."""
        count = self._count(table, where)
        self._connection.execute(f"DELETE FROM {table} WHERE {where}")
        self.arms[table].events.append(("excluded", reason, count))

    def count(self, table: str, said: str, where: str) -> None:
        """Tell how many of the remaining rows there are of a kind."""
        self.arms[table].events.append(("counted", said, self._count(table, where)))

    def as_json(self) -> list[dict[str, Any]]:
        """The arms, in order."""
        return [
            {
                "said": arm.said,
                "start": arm.start,
                "events": [{"kind": kind, "said": said, "rows": rows} for kind, said, rows in arm.events],
                "remain": arm.remain,
            }
            for arm in self.arms.values()
        ]

    def show(self, console: Console) -> None:
        """Print one diagram per table."""
        for arm in self.arms.values():
            console.print(Text.assemble((f"{arm.start:>10,}", "bold"), f"  {arm.said}"), soft_wrap=True)
            for kind, said, rows in arm.events:
                line = f"{rows:>10,}  excluded: {said}" if kind == "excluded" else f"{rows:>10,}  of these {said}"
                console.print(
                    f"{'│':>10}  {'├─▶' if kind == 'excluded' else '│  '} {line}", highlight=False, soft_wrap=True
                )
            remain = Text.assemble(f"{'▼':>10}\n", (f"{arm.remain:>10,}", "bold"), "  remain\n")
            console.print(remain, soft_wrap=True)

    def _count(self, table: str, where: str = "true") -> int:
        found = self._connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
        assert found is not None
        return int(found[0])
