"""Issues of an electrocardiogram, such as names in its header, missing leads, gaps and saturation."""

import re
import warnings
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, Float

from polyclinic.modality import Issue, Source, dicom_issues, identifying_fields
from polyclinic_ecg.reading.cart import cart_format
from polyclinic_ecg.reading.cart_people import cart_identifiers
from polyclinic_ecg.reading.wfdb_record import header_of
from polyclinic_ecg.recording import LEADS, Electrocardiogram

_INDEPENDENT_LEADS = 8
"""Four of the six limb leads follow from the other two, so that a recording with fewer leads is incomplete."""

_MAX_MISSING_SHARE = 0.05
_MIN_SECONDS = 2.0
_PLATEAU_SECONDS = 0.02
_MAX_SATURATED_SHARE = 0.005
_HEAD_BYTES = 100_000
_FORMAT = re.compile(r"\S+\s+(\d{1,3})\b")
_UID = re.compile(r"\d+(?:\.\d+){2,}")
_SYNTAX_ELEMENT = b"\x02\x00\x10\x00UI"


def recording_issues(files: Sequence[Path], raw: Electrocardiogram) -> Iterator[Issue]:
    """Yield the issues of a recording; header fields are named by their kinds, never by their values.

    Args:
        files: files of the recording.
        raw: decoded electrocardiogram.
    """
    headers = [file for file in files if file.suffix.lower() == ".hea"]
    if headers:
        yield from _wfdb_headers(headers)
    elif files:
        yield from _dicom_header(files[-1]) if cart_format(files[-1]) is None else _cart_header(files[-1])
    yield from _leads(raw)
    yield from _assumed(raw)
    if raw.facts.get("checksum") == "absent":
        yield Issue(severity="note", code="no-checksum", message="the header states no checksum to verify samples with")
    if (share := float(raw.facts.get("nan_share", 0.0))) > _MAX_MISSING_SHARE:
        yield Issue(severity="warning", code="gaps", message=f"{share:.0%} of the samples of present leads are missing")
    if saturated := [lead for lead, values in zip(LEADS, raw.signal, strict=True) if _saturates(values, raw.rate)]:
        yield Issue(
            severity="warning",
            code="saturated-lead",
            message=f"{', '.join(saturated)} stays at its extreme value for long",
        )


def encoding_of(source: Source) -> str:
    """Return the storage formats in a WFDB header, the transfer syntax UID of a DICOM file, or the format of a cart.

    It is empty if unknown.
    """
    if not isinstance(source, Path):
        return ""
    header = header_of(source)
    if header is None and (name := cart_format(source)) is not None:
        return name
    with (header or source).open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if header is not None:
        lines = [line for line in head.decode("latin-1").splitlines() if line.strip() and not line.startswith("#")]
        formats = {match[1] for line in lines[1:] if (match := _FORMAT.match(line))}
        return f"wfdb {'+'.join(sorted(formats))}".strip()
    _, _, tail = head.partition(_SYNTAX_ELEMENT)
    syntax = tail[2 : 2 + int.from_bytes(tail[:2], "little")].rstrip(b"\0 ").decode("latin-1")
    return f"dicom {syntax}" if _UID.fullmatch(syntax) else ""


def _wfdb_headers(headers: Sequence[Path]) -> Iterator[Issue]:
    lines = [line for header in headers for line in header.read_bytes().decode("latin-1").splitlines()]
    comments = "\n".join(line.lstrip("# \t") for line in lines if line.startswith("#"))
    if kinds := identifying_fields(comments):
        message = f"comments of the header seem to hold {', '.join(kinds)}"
        yield Issue(severity="warning", code="header-identifiers", message=message)


def _dicom_header(path: Path) -> Iterator[Issue]:
    with warnings.catch_warnings():
        # pydicom warns about every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        yield from dicom_issues(pydicom.dcmread(BytesIO(path.read_bytes()), force=True).get)


def _cart_header(path: Path) -> Iterator[Issue]:
    if kinds := cart_identifiers(path):
        message = f"the file holds {', '.join(kinds)}"
        yield Issue(severity="warning", code="header-identifiers", message=message)


def _leads(raw: Electrocardiogram) -> Iterator[Issue]:
    absent = [lead for lead, values in zip(LEADS, raw.signal, strict=True) if np.isnan(values).all()]
    flat = int(raw.facts.get("flat_leads", 0))
    if flat:
        yield Issue(
            severity="warning",
            code="flat-lead",
            message=f"{flat} of the leads {', '.join(absent)} never change: an electrode was off",
        )
    if len(absent) > flat:
        few = len(LEADS) - len(absent) < _INDEPENDENT_LEADS
        yield Issue(
            severity="warning" if few else "note",
            code="few-leads" if few else "missing-lead",
            message=f"missing of the {len(LEADS)} standard leads: {', '.join(absent)}",
        )


def _assumed(raw: Electrocardiogram) -> Iterator[Issue]:
    """Report assumptions and omissions that affect voltages or stretches of time."""
    facts = {name: int(value) for name, value in raw.facts.items() if isinstance(value, float)}
    if count := facts.get("uncalibrated_leads", 0):
        message = f"the header states no gain for {count} leads: 200 units per mV are assumed, voltages may be wrong"
        yield Issue(severity="warning", code="uncalibrated", message=message)
    if count := facts.get("modified_leads", 0):
        message = f"{count} modified limb leads (ML) are read as standard ones, from which their waves differ"
        yield Issue(severity="note", code="modified-leads", message=message)
    if (count := facts.get("groups", 1)) > 1:
        message = f"leads of {count} groups are put together at the times that the file states"
        yield Issue(severity="note", code="joined-groups", message=message)
    if count := facts.get("groups_left_out", 0):
        message = f"{count} other groups of ECG waveforms in the file are left out: averaged beats, or other stretches"
        yield Issue(severity="note", code="groups-left-out", message=message)
    if facts.get("derived_leads", 0):
        message = "III, aVR, aVL and aVF are computed from I and II, which the file stores without them"
        yield Issue(severity="note", code="derived-leads", message=message)
    if facts.get("reader_remarks", 0):
        message = (
            "the file holds parts that are left out or not as its format says, none of them samples of these leads"
        )
        yield Issue(severity="note", code="parts-left-out", message=message)
    if raw.signal.shape[1] < _MIN_SECONDS * raw.rate:
        message = f"{raw.signal.shape[1] / raw.rate:.2g} s are little more than one beat"
        yield Issue(severity="warning", code="very-short", message=message)


def _saturates(values: Float[np.ndarray, " N"], rate: float) -> bool:
    """Return whether plateaus of 20 ms at the highest or lowest value make up more than 0.5 % of the recording."""
    recorded = values[~np.isnan(values)]
    if not len(recorded):
        return False
    min_length = max(3, round(_PLATEAU_SECONDS * rate))
    limit = _MAX_SATURATED_SHARE * len(values)
    return any(_plateau_samples(values == end, min_length) > limit for end in (recorded.min(), recorded.max()))


def _plateau_samples(at_end: Bool[np.ndarray, " N"], min_length: int) -> int:
    """Count the samples in runs of at least ``min_length``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], at_end, [False]])))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= min_length].sum())
