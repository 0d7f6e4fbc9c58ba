"""Link the events of MIMIC to the anchors of its studies."""

from collections.abc import Sequence
from dataclasses import replace

from polyclinic.cohort import Anchors, Events, Window, link, link_items
from polyclinic.cohort.build import DataRoot, Flow

ANCHORS = Anchors(table="anchors", id="anchor_id", patient="subject_id", time="time")
IMAGES = Events(table="images", id="dicom_id", patient="subject_id", time="taken")
RECORDS = Events(table="records", id="study_id", patient="subject_id", time="taken")
RESULTS = Events(table="results", id="labevent_id", patient="subject_id", time="charttime", available="storetime")
NOTES = Events(table="notes", id="note_id", patient="subject_id", time="charttime", available="storetime")


def exclude_distant(root: DataRoot, flow: Flow, events: Events, window: Window | None) -> None:
    """Exclude events outside every window, so that only files that may be used are checked.

    Args:
        root: data root of the tables.
        flow: flow of the table of events.
        events: events with files.
        window: time window around the anchors; None where the events are the anchors.
    """
    near = f"SELECT anchor_id FROM {ANCHORS.table}"
    if window is not None:
        near = f"SELECT {events.id} FROM ({_linked(root, events, replace(window, pick='all'))})"
    flow.exclude(events.table, "in no window of an anchor", f"{events.id} NOT IN ({near})")


def keep_linked(root: DataRoot, events: Events, window: Window | None, *, columns: str, strict: bool = False) -> None:
    """Create the table ``linked_EVENTS``: ``anchor_id`` and some columns of the events of each anchor.

    Args:
        root: data root of the tables.
        events: events to link.
        window: time window around the anchors; None where the events are the anchors.
        columns: SQL list of the columns.
        strict: whether to omit events that were not available at the time of the anchor.
    """
    linked = f"SELECT {events.id} AS anchor_id, * FROM {events.table}"
    if window is not None:
        linked = _linked(root, events, window, strict=strict)
    root.connection.execute(f"CREATE TABLE linked_{events.table} AS SELECT anchor_id, {columns} FROM ({linked})")


def keep_results(root: DataRoot, window: Window, items: Sequence[int], *, strict: bool) -> None:
    """Create the table ``linked_results``: ``anchor_id`` and a column for each laboratory item."""
    results = link_items(
        root.connection, ANCHORS, RESULTS, window, item="itemid", value="valuenum", items=items, strict=strict
    )
    root.connection.execute(f"CREATE TABLE linked_{RESULTS.table} AS {results.sql_query()}")


def availability(root: DataRoot, events: Events, window: Window, message: str, *, strict: bool) -> str:
    """Return a note on the number of events in the window that were not available at the time of the anchor."""
    inside = _linked(root, events, replace(window, pick="all"))
    counted = root.connection.execute(f"""
        SELECT count(*), count(*) FILTER (e.{events.available} IS NULL), count(*) FILTER (e.{events.available} > a.time)
        FROM ({inside}) AS e JOIN {ANCHORS.table} AS a ON a.anchor_id = e.anchor_id
    """).fetchone()
    assert counted is not None
    total, unknown, late = counted
    outcome = "left out" if strict else "kept: a model that predicts at the anchor would see the future, see `--strict`"
    return (
        f"{total} {message} in the window, {late} stored after the anchor and {unknown} at an unknown time: {outcome}"
    )


def _linked(root: DataRoot, events: Events, window: Window, *, strict: bool = False) -> str:
    return link(root.connection, ANCHORS, events, window, strict=strict).sql_query()
