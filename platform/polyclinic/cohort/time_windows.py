"""Events linked to anchors by windows of time, by DuckDB: out of core, and no row passes through Python."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

PICKS = ("earliest", "latest", "all")


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which events belong to an anchor, such as an admission.

    Attributes:
        lower: hours from the anchor to the first moment; negative ahead of it.
        upper: hours from the anchor to the last moment, which belongs to the window.
        after_lower: whether the first moment itself is outside.
        pick: ``earliest``, ``latest`` or ``all`` of the events inside; of events at one time the one with the smallest
            id counts as the earliest, and the one with the largest as the latest.

    Raises:
        ValueError: a window that ends before it begins, or another pick.
    """

    lower: float
    upper: float
    after_lower: bool = False
    pick: str = "earliest"

    def __post_init__(self) -> None:
        if self.lower > self.upper or self.pick not in PICKS:
            raise ValueError(f"got {self}, expected lower at most upper and pick of {PICKS}; set them")


@dataclass(frozen=True, kw_only=True)
class Events:
    """A table or view of the connection, one row per event, and what its columns are.

    Attributes:
        table: its name.
        id: unique per row.
        patient: on which events meet anchors.
        time: of the event.
        available: when its result was known; None where that is not recorded.
    """

    table: str
    id: str
    patient: str
    time: str
    available: str | None = None


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """A table or view of the connection, one row per anchor; see ``Events``."""

    table: str
    id: str
    patient: str
    time: str


def link(
    connection: duckdb.DuckDBPyConnection, anchors: Anchors, events: Events, window: Window, *, strict: bool = False
) -> duckdb.DuckDBPyRelation:
    """The events of each anchor: its id as ``anchor_id``, then the columns of the event.

    Args:
        connection: that holds both tables.
        anchors: what events are linked to.
        events: of the patients.
        window: around the anchor's time.
        strict: leave out events whose result was not known at the anchor's time.

    Raises:
        ValueError: ``strict`` without a column that says when results were known.
    """
    query = f"""
        SELECT a.{_quoted(anchors.id)} AS anchor_id, e.*
        FROM {_quoted(anchors.table)} AS a
        JOIN {_quoted(events.table)} AS e ON {_matches(anchors, events, window, strict=strict)}
    """
    if window.pick == "all":
        return connection.sql(query)
    direction = "" if window.pick == "earliest" else "DESC"
    order = f"e.{_quoted(events.time)} {direction}, e.{_quoted(events.id)} {direction}"
    return connection.sql(
        f"{query} QUALIFY row_number() OVER (PARTITION BY a.{_quoted(anchors.id)} ORDER BY {order}) = 1"
    )


def link_items(
    connection: duckdb.DuckDBPyConnection,
    anchors: Anchors,
    events: Events,
    window: Window,
    *,
    item: str,
    value: str,
    items: Sequence[int],
    strict: bool = False,
) -> duckdb.DuckDBPyRelation:
    """One row for each anchor with any event: ``anchor_id``, then the value of each item, null where there is none.

    Args:
        connection: that holds both tables.
        anchors: what events are linked to.
        events: such as laboratory results; those without a value do not count.
        window: around the anchor's time; it picks one event of each item.
        item: column that says what was measured.
        value: column of the number.
        items: that become columns, in this order.
        strict: leave out events whose result was not known at the anchor's time.

    Raises:
        ValueError: a window that picks all, no item, or ``strict`` without a column for it.
    """
    if window.pick == "all" or not items:
        raise ValueError(
            f"got pick {window.pick!r} and {len(items)} items, expected one event of each item; set `pick`"
        )
    choose = "arg_min" if window.pick == "earliest" else "arg_max"
    wanted = ", ".join(str(int(one)) for one in items)
    columns = ", ".join(f"any_value(value) FILTER (item = {int(one)}) AS {_quoted(str(one))}" for one in items)
    # One value of each item first: fifty conditional minima over all events take ten times as long.
    return connection.sql(f"""
        SELECT anchor_id, {columns} FROM (
            SELECT a.{_quoted(anchors.id)} AS anchor_id, e.{_quoted(item)} AS item,
                {choose}(e.{_quoted(value)}, (e.{_quoted(events.time)}, e.{_quoted(events.id)})) AS value
            FROM {_quoted(anchors.table)} AS a
            JOIN {_quoted(events.table)} AS e ON {_matches(anchors, events, window, strict=strict)}
            WHERE e.{_quoted(item)} IN ({wanted}) AND e.{_quoted(value)} IS NOT NULL
            GROUP BY ALL
        ) GROUP BY anchor_id
    """)


def _matches(anchors: Anchors, events: Events, window: Window, *, strict: bool) -> str:
    if strict and events.available is None:
        raise ValueError(
            f"got strict for {events.table!r}, which does not say when results were known; set `available`"
        )
    anchor, event = f"a.{_quoted(anchors.time)}", f"e.{_quoted(events.time)}"
    conditions = [
        f"a.{_quoted(anchors.patient)} = e.{_quoted(events.patient)}",
        f"{event} {'>' if window.after_lower else '>='} {anchor} + {_hours(window.lower)}",
        f"{event} <= {anchor} + {_hours(window.upper)}",
    ]
    if strict:
        conditions.append(f"e.{_quoted(str(events.available))} <= {anchor}")
    return " AND ".join(conditions)


def _hours(hours: float) -> str:
    return f"to_microseconds({round(hours * 3_600_000_000)})"


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
