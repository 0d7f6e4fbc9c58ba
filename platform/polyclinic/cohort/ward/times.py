"""Times of records in the zone of the hospital, and times of versions as text that sorts."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from polyclinic.modality import Moment

_YEARS = range(1700, 2201)


def is_plausible(moment: Moment | None) -> bool:
    """Return whether a time is stated and a patient may have lived then."""
    return moment is not None and moment.time.year in _YEARS


def known_at(taken: Moment, issued: Moment | None) -> Moment:
    """Return when a result was known: when it was issued, else when the specimen was taken, whichever is later."""
    return taken if issued is None or issued.time < taken.time else issued


def in_zone(moment: Moment, zone: ZoneInfo | None) -> Moment:
    """Return the wall-clock time of a zone; a time without an offset, or a day, is taken as one of the zone.

    Raises:
        OverflowError: the time is at the end of the calendar.
    """
    if zone is None or moment.offset is None or moment.precision == "day":
        return moment
    instant = moment.time.replace(tzinfo=UTC) - timedelta(minutes=moment.offset)
    local = instant.astimezone(zone)
    shift = local.utcoffset()
    assert shift is not None
    return Moment(local.replace(tzinfo=None), moment.precision, round(shift.total_seconds() / 60))


def version_text(stated: datetime | None) -> str:
    """Return a time of a version as text that sorts; a time without an offset is compared as it stands."""
    if stated is None:
        return ""
    try:
        instant = stated.astimezone(UTC).replace(tzinfo=None) if stated.tzinfo is not None else stated
    except OverflowError:  # at the end of the calendar
        instant = stated.replace(tzinfo=None)
    return instant.isoformat(timespec="microseconds")
