"""Times of HL7 v2 (section 2A.22): ``YYYY[MM[DD[HH[MM[SS[.SSSS]]]]]][+/-ZZZZ]``."""

from datetime import datetime, timedelta, timezone

from hl7apy.utils import get_datetime_info

from polyclinic.cohort.ward.times import version_text
from polyclinic.modality import Moment
from polyclinic.modality.records import Precision

_PRECISION: dict[str, Precision] = {"%Y%m%d": "day", "%Y%m%d%H": "hour", "%Y%m%d%H%M": "minute"}
_COARSE = ("%Y", "%Y%m")
_MAX_LENGTH = len("YYYYMMDDHHMMSS.SSSSSS+ZZZZ")


def moment_of_field(text: str) -> Moment | None:
    """Return the time in a field; None where it is empty, invalid, or only a year or a month."""
    found = _parsed(text)
    if found is None or found[1] in _COARSE:
        return None
    return Moment.of(found[0], _PRECISION.get(found[1], "second"))


def message_version(text: str) -> str:
    """Return the time in MSH-7 as text that sorts; empty where there is none."""
    found = _parsed(text)
    return version_text(found[0]) if found is not None else ""


def _parsed(text: str) -> tuple[datetime, str] | None:
    if not text.isascii() or len(text) > _MAX_LENGTH:
        return None
    try:
        stated, form, offset, _ = get_datetime_info(text)
    except ValueError:
        return None
    if offset:
        minutes = int(offset[1:3]) * 60 + int(offset[3:5])
        stated = stated.replace(tzinfo=timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes)))
    return stated, form
