"""Rebuild DICOM datasets from an allowlist of elements; rules of its sequences."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from polyclinic.privacy.dicom_values import Cleaning, Rule, terms

_NOTHING = re.compile(r"(?!)")
_LEAD_CODES = {"MDC": re.compile(r"2:\d{1,3}"), "SCPECG": re.compile(r"5\.6\.3-9-\d{1,3}")}
_LUT_TYPES = terms("HU, OD, US, MGML, Z_EFF, ED, EDW, HU_MOD, PCT")


def rebuilt(dataset: Any, elements: Mapping[str, Rule], cleaning: Cleaning) -> Any:
    """Return a new dataset of only the listed elements, each with the values that its rule returns.

    Args:
        dataset: pydicom dataset; it is not changed.
        elements: rules by keyword.
        cleaning: state of the de-identification, which counts removed elements by reason.
    """
    clean = cleaning.standard.item()
    for tag in list(dataset.keys()):
        keyword = cleaning.standard.keyword(tag)
        if keyword not in elements:
            cleaning.removed[_kind(tag.group, keyword)] += 1
            continue
        try:
            found = _values(dataset[tag].value)
            passed = elements[keyword](found, cleaning) if found else []
            if passed:
                setattr(clean, keyword, passed[0] if len(passed) == 1 and not hasattr(passed[0], "keys") else passed)
        except Exception:  # The VR does not allow the value, either the stored or the new one.
            passed, found = [], [None]
        cleaning.removed["values that fail their check"] += bool(found) and not passed
    return clean


def _kind(group: int, keyword: str) -> str:
    """Return the name of the rule that removes an element outside the list."""
    if group % 2:
        return "private elements"
    if group & 0xFF00 in (0x5000, 0x6000):
        return "curves and overlays"
    return "elements not on the list" if keyword else "unknown elements"


def _values(value: Any) -> list[Any]:
    if value is None or value == "" or value == b"":
        return []
    return list(value) if hasattr(value, "append") else [value]


def items(elements: Mapping[str, Rule]) -> Rule:
    """Make a rule that rebuilds each item of a sequence from a list of elements."""

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        return [rebuilt(item, elements, cleaning) for item in values]

    return rule


def codes(known: Mapping[tuple[str, str], str]) -> Rule:
    """Make a rule that accepts listed coded concepts, with the meanings of the list; others are removed."""

    def rule(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
        found = [(str(item.get("CodingSchemeDesignator")), str(item.get("CodeValue"))) for item in values]
        cleaning.removed["codes that are not on the list"] += sum(pair not in known for pair in found)
        return [coded(cleaning, *pair, known[pair]) for pair in found if pair in known]

    return rule


def coded(cleaning: Cleaning, scheme: str, value: str, meaning: str) -> Any:
    """Make an item of a code sequence (PS3.3 table 8.8-1)."""
    item = cleaning.standard.item()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def channel_source(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Code the lead of a channel, by a registered code of CID 3001 or by the plugin's name for it."""
    item = values[0]
    scheme, value = str(item.get("CodingSchemeDesignator")), str(item.get("CodeValue"))
    name = cleaning.standard.label(str(item.get("CodeMeaning", "")))
    if _LEAD_CODES.get(scheme, _NOTHING).fullmatch(value):
        return [coded(cleaning, scheme, value, name or "lead by its code")]
    return [coded(cleaning, "99POLYCLINIC", "1", name or "channel")]


def lookup_tables(values: Sequence[Any], cleaning: Cleaning) -> list[Any]:
    """Rebuild lookup tables (PS3.3 C.11.1.1), with the number of little-endian entries of their descriptor."""
    found = [_lookup_table(item, cleaning) for item in values]
    return found if all(found) else []


def _lookup_table(item: Any, cleaning: Cleaning) -> Any:
    """Rebuild a lookup table without its explanation; None where it is not valid."""
    if not ("LUTDescriptor" in item and "LUTData" in item):
        return None
    descriptor = [int(value) for value in item.LUTDescriptor]
    data = item.LUTData
    if len(descriptor) != 3 or not -65536 < min(descriptor) <= max(descriptor) < 65536 or not 8 <= descriptor[2] <= 16:
        return None
    swapped = isinstance(data, bytes) and cleaning.big_endian
    if not isinstance(data, bytes):
        data = b"".join(int(entry).to_bytes(2, "little") for entry in ([data] if isinstance(data, int) else data))
    count = descriptor[0] % 65536 or 65536
    is_wide = len(data) >= 2 * count
    data = data[: 2 * count] if is_wide else data[:count]
    if swapped and is_wide:
        data = _swapped(data)
    clean = cleaning.standard.item()
    clean.add_new("LUTDescriptor", "US" if min(descriptor) >= 0 else "SS", descriptor)
    clean.add_new("LUTData", "OW", data + b"\0" * (len(data) % 2))
    if kind := _LUT_TYPES([item.get("ModalityLUTType", "")], cleaning):
        clean.ModalityLUTType = kind[0]
    return clean


def _swapped(data: bytes) -> bytes:
    swapped = bytearray(data)
    swapped[::2], swapped[1::2] = data[1::2], data[::2]
    return bytes(swapped)
