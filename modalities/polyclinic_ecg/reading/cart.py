"""Read the exports of ECG carts and Holter recorders through ecgdatakit, behind this plugin's checks.

The library reads what it can and warns about the rest; here, whatever could change a sample, its unit or its time is
refused. The library is imported only when a file of a cart is read.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from polyclinic.modality import UnreadableSource
from polyclinic_ecg.reading.cart_limits import LIMITS, Limit, refuse_oversized
from polyclinic_ecg.reading.cart_warnings import refuse_doubtful
from polyclinic_ecg.reading.csv_leads import is_csv, read_csv
from polyclinic_ecg.reading.limb_leads import with_limb_leads
from polyclinic_ecg.recording import LEADS, Channel, Electrocardiogram, assemble, check_dimensions, lead_index

_HEAD_BYTES = 4096
"""The length of the head that the library's ``can_parse`` is defined for."""

_DICOM_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")
_SCP_POINTER = slice(28, 32)
_ISHNE_FAULT = -32768
"""Stored where an electrode was off (Badilini 1998)."""


class CartFormat(NamedTuple):
    """A format of the library: name in ``facts``, name in messages, module and class of its parser, limit in bytes."""

    name: str
    title: str
    module: str
    parser: str
    limit: Limit


FORMATS = (
    CartFormat("ge-muse-xml", "GE MUSE XML", "ge_muse_xml", "GEMuseXMLParser", LIMITS["xml"]),
    CartFormat("hl7-aecg", "HL7 aECG", "hl7_aecg", "HL7aECGParser", LIMITS["xml"]),
    CartFormat("philips-sierra-xml", "Philips Sierra XML", "sierra_xml", "SierraXMLParser", LIMITS["sierra"]),
    CartFormat("mortara-xml", "Mortara XML", "mortara_el250", "MortaraEL250Parser", LIMITS["xml"]),
    CartFormat("edf", "EDF", "edf", "EDFParser", LIMITS["edf"]),
    CartFormat("ishne", "ISHNE", "ishne_holter", "ISHNEHolterParser", LIMITS["ishne"]),
    CartFormat("scp-ecg", "SCP-ECG", "scp_ecg", "SCPECGParser", LIMITS["scp"]),
    # Last, because its definitions are only a chain of plausible tags.
    CartFormat("mfer", "MFER", "mfer", "MFERParser", LIMITS["mfer"]),
)
CSV: Literal["csv"] = "csv"


@dataclass(frozen=True)
class Decoded:
    """What the library decoded: the format, its record, and the number of its warnings that change no sample."""

    format: CartFormat
    record: Any
    remarks: int


def cart_format(path: Path) -> str | None:
    """Return the name of a format of ``FORMATS`` or ``CSV`` by the content of a file; None for any other file."""
    found = sniff(path)
    return found.name if isinstance(found, CartFormat) else found


def sniff(path: Path) -> CartFormat | Literal["csv"] | None:
    """Return the format of a file by its content, as ``cart_format`` does, for ``decode``."""
    try:
        head = _head(path)
    except OSError:
        return None
    return CSV if is_csv(head) else _format_of(path, head)


def read_cart(path: Path) -> Electrocardiogram:
    """Decode an export of a cart, and compute III, aVR, aVL and aVF where it stores I and II only.

    Args:
        path: file for which ``cart_format`` returns a name.

    Raises:
        UnreadableSource: the file is too large, cut off, contradicts itself, or its leads cannot be used.
    """
    found = sniff(path)
    if found == CSV:
        channels, rate = read_csv(path)
        facts: dict[str, float | str] = {"format": CSV}
    else:
        decoded = decode(path, found)
        facts = {"format": decoded.format.name, "reader_remarks": float(decoded.remarks)}
        channels, rate = _channels(decoded)
    check_dimensions(rate=rate, length=max(len(channel.values) for channel in channels), channels=len(channels))
    channels, derived = with_limb_leads(channels)
    return assemble(channels, rate=rate, facts={**facts, "derived_leads": float(derived)})


def decode(path: Path, found: CartFormat | None = None) -> Decoded:
    """Decode a file of ``FORMATS`` with the library.

    Args:
        path: file.
        found: its format, if it is known from ``sniff``.

    Raises:
        UnreadableSource: the file is too large or of another format, the library cannot decode it, or warns of a doubt
            about its samples.
    """
    found = found or _format_of(path, _head(path))
    if found is None:
        raise UnreadableSource("not an export of an ECG cart")
    try:
        refuse_oversized(path, found.limit, found.title)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            record = _parser(found)().parse(path)
    except UnreadableSource:
        raise
    except Exception as error:
        raise UnreadableSource(f"{found.title} that is cut off or not as its format says ({_kind(error)})") from None
    return Decoded(found, record, refuse_doubtful(caught, found.title))


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def _format_of(path: Path, head: bytes) -> CartFormat | None:
    if not head or _is_dicom(head):
        return None
    return next((entry for entry in FORMATS if _parser(entry).can_parse(path, head)), None)


def _is_dicom(head: bytes) -> bool:
    """Return True for DICOM with a preamble, or without one, when it starts with an element of group 2 or 8."""
    starts_with_group = head[:2] in _DICOM_GROUPS and head[_SCP_POINTER] != b"\x07\0\0\0"
    return head[128:132] == b"DICM" or starts_with_group


def _parser(entry: CartFormat) -> Any:
    return getattr(import_module(f"ecgdatakit.parsing.parsers.{entry.module}"), entry.parser)


def _kind(error: Exception) -> str:
    # The library chains its errors; the first one says more than CorruptedFileError.
    return type(error.__context__ or error).__name__.replace("MemoryError", "too large")


def _channels(decoded: Decoded) -> tuple[list[Channel], float]:
    """Return the standard leads in physical units, and their common rate in Hz.

    Raises:
        UnreadableSource: there is no standard lead, or leads differ in rate, start, or have no scale.
    """
    title, leads = decoded.format.title, list(_standard(decoded))
    if not leads:
        raise UnreadableSource(f"none of the leads {', '.join(LEADS)} is in the record")
    if len({rate for _, _, rate in leads}) != 1:
        raise UnreadableSource(f"{title} with leads at different rates; expected one rate for all standard leads")
    if len({_start(lead) for _, lead, _ in leads}) != 1:
        raise UnreadableSource(f"{title} with leads that start at different times; expected leads recorded together")
    fault = _ISHNE_FAULT if decoded.format.name == "ishne" else None
    return [Channel(name, *_physical(lead, title, fault)) for name, lead, _ in leads], leads[0][2]


def _standard(decoded: Decoded) -> Iterator[tuple[str, Any, float]]:
    """Yield name, lead of the library and exact rate of each standard lead."""
    for lead, rate in zip(decoded.record.leads, _exact_rates(decoded.record), strict=True):
        name, _, copy = lead.label.rpartition("_")
        # The library numbers a lead that is stored twice: II, II_2.
        label = name if copy.isdigit() and lead_index(name) is not None else lead.label
        # It also calls a channel of ISHNE without a lead "Lead 1", which here is the name of lead I.
        if lead_index(label) is not None and not (decoded.format.name == "ishne" and label.startswith("Lead ")):
            yield label, lead, rate


def _exact_rates(record: Any) -> Sequence[float]:
    """Return the rate of each lead; ``Lead.sampling_rate`` is rounded to an integer."""
    stated = record.raw_metadata
    if "sampling_rates" in stated:
        return [float(rate) for rate in stated["sampling_rates"]]
    if "rhythm_sample_interval_us" in stated:
        return [1e6 / stated["rhythm_sample_interval_us"]] * len(record.leads)
    common = stated.get("rhythm_time", {}).get("sampling_rate_exact")
    exact = stated.get("exact_sampling_rates", {})
    return [float(common or exact.get(lead.label, lead.sampling_rate)) for lead in record.leads]


def _start(lead: Any) -> str:
    return str(lead.annotations.get("start_sample") or lead.annotations.get("LeadTimeOffset") or "")


def _physical(lead: Any, title: str, fault: int | None) -> tuple[str, np.ndarray]:
    """Return unit and values of a lead, NaN for a fault. Stored integers without a scale are never taken as mV."""
    unit = lead.resolution_unit if lead.is_raw else lead.units
    if not unit or not lead.adc_resolution or not np.isfinite([lead.resolution, lead.offset]).all():
        raise UnreadableSource(f"{title} without a known unit and scale of its samples; expected uV or mV per step")
    samples = lead.samples if fault is None else np.where(lead.samples == fault, np.nan, lead.samples)
    with np.errstate(over="ignore", invalid="ignore"):
        return unit, samples * lead.resolution + lead.offset if lead.is_raw else samples
