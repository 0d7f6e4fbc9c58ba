"""Link events to anchors by time windows in DuckDB: out of core, with no row passing through Python."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

PICKS = ("earliest", "latest", "all")


@dataclass(frozen=True, kw_only=True)
class Window:
    """Time window around an anchor, such as an admission.

    Attributes:
        lower: start in hours relative to the anchor; negative before it.
        upper: end in hours relative to the anchor, inclusive.
        after_lower: whether the start is exclusive.
        pick: ``earliest``, ``latest`` or ``all`` of the events in the window; events at the same time are ordered by
            their id.

    Raises:
        ValueError: the window ends before it starts, or ``pick`` is unknown.
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
    """Table or view with one row per event, and the names of its columns.

    Attributes:
        table: table or view of the connection.
        id: column that is unique per row.
        patient: column by which events are joined to anchors.
        time: column with the time of the event.
        available: column with the time at which the result was available; None where that is not recorded.
    """

    table: str
    id: str
    patient: str
    time: str
    available: str | None = None


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Table or view with one row per anchor; its attributes are as in ``Events``."""

    table: str
    id: str
    patient: str
    time: str


def link(
    connection: duckdb.DuckDBPyConnection, anchors: Anchors, events: Events, window: Window, *, strict: bool = False
) -> duckdb.DuckDBPyRelation:
    """Return the events of each anchor: its id as ``anchor_id``, then the columns of the event.

    Args:
        connection: connection with both tables.
        anchors: anchors to link events to.
        events: events of the patients.
        window: time window around the anchor.
        strict: whether to omit events whose result was not available at the time of the anchor.

    Raises:
        ValueError: ``strict`` is set, but the events have no ``available`` column.
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
    """Return one row per anchor with any event: ``anchor_id``, then the value of each item, or null.

    Args:
        connection: connection with both tables.
        anchors: anchors to link events to.
        events: events such as laboratory results; those without a value are ignored.
        window: time window around the anchor, which picks one event per item.
        item: column that identifies the measured quantity.
        value: column of the measured number.
        items: items that become columns, in this order.
        strict: whether to omit events whose result was not available at the time of the anchor.

    Raises:
        ValueError: the window picks all events, ``items`` is empty, or ``strict`` is set without an ``available``
            column.
    """
    if window.pick == "all" or not items:
        raise ValueError(
            f"got pick {window.pick!r} and {len(items)} items, expected one event of each item; set `pick`"
        )
    choose = "arg_min" if window.pick == "earliest" else "arg_max"
    wanted = ", ".join(str(int(item_id)) for item_id in items)
    columns = ", ".join(
        f"any_value(value) FILTER (item = {int(item_id)}) AS {_quoted(str(item_id))}" for item_id in items
    )
    # Reduce to one value per item before the pivot: fifty conditional minima over all events take ten times as long.
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
