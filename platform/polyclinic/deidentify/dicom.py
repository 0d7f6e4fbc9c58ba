"""DICOM headers by the Basic Application Level Confidentiality Profile (PS3.15 annex E), on the datasets of a plugin.

The table of the profile comes from the caller, which has a library that ships it, and so do the datasets: nothing is
decoded here. Stricter than the profile, every private element, every element that the standard does not know and every
curve and overlay goes, and so does each text left over that holds a known name or what has the look of an identifier.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date
from typing import Any

from polyclinic.deidentify.identity import Identity
from polyclinic.identifiers import identifying_fields, names_nobody

METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
}
"""What was done, by code of CID 7050."""

_NAMES = (
    *("PatientName", "PatientBirthName", "OtherPatientNames", "PatientMotherBirthName", "ResponsiblePerson"),
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "PatientTelephoneNumbers"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord"),
    *("OperatorsName", "RequestingPhysician", "ConsultingPhysicianName", "PatientAddress"),
)
# The option to retain the characteristics of patients, as far as a model learns from them.
_CHARACTERISTICS = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight")
_CLASSES = ("SOPClassUID", "TransferSyntaxUID", "MediaStorageSOPClassUID", "ReferencedSOPClassUID")
_SAMPLES = ("PixelData", "WaveformData")
_STANDARD_ROOT = "1.2.840.10008."
_TEXTS = ("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT", "CS")
_BYTES = ("OB", "OW", "OF", "OD", "OL", "OV")
_NUMBERS = ("DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")
_DATE, _AGE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)"), re.compile(r"(\d{3})([YMWD])")
_OLDEST = 90

Profile = Mapping[tuple[int, int], str]
"""The action of the basic profile by group and element: X, Z, D, U, or several of them with a stroke."""


def profile_of(table: Mapping[str, Collection[tuple[int, ...]]]) -> Profile:
    """The actions of ``dicomanonymizer``'s table; elements of repeating groups are removed without one."""
    letters = {name: name.removesuffix("_TAGS").replace("_STAR", "").replace("_", "/") for name in table}
    return {
        (tag[0], tag[1]): letters[name]
        for name, tags in table.items()
        if name != "ALL_TAGS"
        for tag in tags
        if len(tag) == 2
    }


def dicom_names(value_of: Callable[[str], object]) -> Iterator[str]:
    """Names and numbers by which a header calls its patient and the people around, for texts of the same patient.

    Args:
        value_of: gives the value of an element by its keyword, None where it is absent.
    """
    for keyword in _NAMES:
        value: Any = value_of(keyword)
        several = value if hasattr(value, "append") else [value]
        yield from (str(one) for one in several if value is not None and not names_nobody(str(one)))


def clean_dicom(dataset: Any, *, identity: Identity, profile: Profile, item: Callable[[], Any]) -> Counter[str]:
    """Clean a dataset in place, nested sequences too, and say in it what was done.

    Dates move by the patient's days while times stay, birth dates are emptied, ages over 89 become 90, UIDs are mapped
    and everything else goes as the table says. What is burned into pixels is not looked at.

    Args:
        dataset: of pydicom, without its file meta information.
        identity: of the patient.
        profile: from ``profile_of``.
        item: makes an empty dataset for a sequence.

    Returns:
        How many elements of each kind were changed or removed.
    """
    counts = Counter[str]()
    _clean(dataset, identity, profile, counts)
    dataset.PatientName = dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    dataset.DeidentificationMethod = "polyclinic deidentify"
    dataset.DeidentificationMethodCodeSequence = [_code(item(), code, said) for code, said in METHODS.items()]
    return counts


def _code(item: Any, code: str, said: str) -> Any:
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", said
    return item


def _clean(dataset: Any, identity: Identity, profile: Profile, counts: Counter[str]) -> None:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # a value that its VR does not allow
            del dataset[tag]
            counts["invalid elements"] += 1
            continue
        if kind := _foreign(element):
            del dataset[tag]
            counts[kind] += 1
        elif element.VR in ("DA", "DT") and "Birth" not in element.keyword:
            counts["dates"] += _each(element, lambda value: _moved(str(value), identity))
        elif element.keyword in _CHARACTERISTICS:
            counts["ages"] += _each(element, _capped) if element.VR == "AS" else 0
        elif element.VR != "TM" or "Birth" in element.keyword:
            _act(dataset, element, identity, profile, counts)


def _foreign(element: Any) -> str:
    """Why an element goes whatever the table says; empty where it does not."""
    group = element.tag.group
    if group % 2:
        return "private elements"
    if group & 0xFF00 in (0x5000, 0x6000):
        return "curves and overlays"
    return "unknown elements" if not element.keyword or element.VR == "UN" or group < 8 else ""


def _act(dataset: Any, element: Any, identity: Identity, profile: Profile, counts: Counter[str]) -> None:
    action = profile.get((element.tag.group, element.tag.element), "")
    if action == "X":
        del dataset[element.tag]
        counts["elements removed"] += 1
    elif element.VR == "UI":
        counts["UIDs"] += _each(element, lambda value: _mapped(str(value), element.keyword, identity))
    elif element.VR == "SQ" and ("U" in action or not action):
        for nested in element.value:
            _clean(nested, identity, profile, counts)
    elif action:
        element.value = _dummy(element.VR) if "D" in action else _nothing(element.VR)
        counts["elements emptied"] += 1
    elif element.keyword not in _SAMPLES and _names(element, identity):
        del dataset[element.tag]
        counts["texts that name a person"] += 1


def _names(element: Any, identity: Identity) -> bool:
    """Whether an element that the profile keeps names a person all the same."""
    if element.VR in _BYTES:
        return identity.is_in(bytes(element.value or b""))
    if element.VR == "PN":
        return True
    if element.VR not in _TEXTS or not element.value:
        return False
    text = str(element.value)
    return identity.is_named_in(text) or bool(identifying_fields(text))


def _each(element: Any, change: Callable[[Any], str]) -> int:
    """Change every value of an element; 1 where one is another one now."""
    before = element.value
    if not before:
        return 0
    several = hasattr(before, "append")
    after = [change(value) for value in before] if several else change(before)
    element.value = after
    return int((list(before) if several else str(before)) != after)


def _moved(value: str, identity: Identity) -> str:
    """A DA or DT (PS3.5 table 6.2-1), moved by days; empty where it has no day."""
    match = _DATE.match(value.strip())
    try:
        moved = identity.moved(date(*map(int, match.groups()))) if match else None
    except ValueError:
        moved = None
    rest = value.strip()[match.end() :] if match else ""
    return f"{moved:%Y%m%d}{rest if re.fullmatch(r'[0-9.+-]*', rest) else ''}" if moved else ""


def _capped(value: Any) -> str:
    match = _AGE.fullmatch(str(value).strip())
    if match is None:
        return ""
    return f"{min(int(match[1]), _OLDEST):03d}Y" if match[2] == "Y" else match[0]


def _mapped(value: str, keyword: str, identity: Identity) -> str:
    return value if value.startswith(_STANDARD_ROOT) or keyword in _CLASSES else identity.uid(value)


def _dummy(vr: str) -> Any:
    """A value of the VR that is not empty and says nothing."""
    if vr in _NUMBERS:
        return 0
    if vr == "SQ":
        return []
    if vr in _BYTES:
        return b"\0\0"
    return {"AS": "000Y", "TM": "000000", "UR": "about:blank"}.get(vr, "REMOVED")


def _nothing(vr: str) -> Any:
    return [] if vr == "SQ" else b"" if vr in _BYTES else None if vr in _NUMBERS else ""
