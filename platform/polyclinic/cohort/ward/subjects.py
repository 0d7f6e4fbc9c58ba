"""Patients: one id for the forms of a number, and the integer that MEDS asks for."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from polyclinic.cohort.cells import canonical_id
from polyclinic.modality import PatientNumber

_BITS = 63


class Patients:
    """Ids of the patients of a folder.

    Forms of one number, such as ``007`` and ``7``, are one patient. Authorities are compared within a format only, as
    each format names them in its own way.

    Args:
        numbers: patient numbers of all records.
    """

    def __init__(self, numbers: Iterable[PatientNumber]) -> None:
        forms: dict[str, set[str]] = defaultdict(set)
        authorities: dict[str, set[str]] = defaultdict(set)
        for value, authority in numbers:
            key = canonical_id(value)
            forms[key].add(value)
            if " " in authority:
                authorities[key].add(authority)
        self._ids = {key: min(values) for key, values in forms.items()}
        self._ambiguous = {key for key, names in authorities.items() if _is_ambiguous(names)}

    def patient_id(self, number: PatientNumber) -> str | None:
        """Return the id of a patient; None where several authorities issued the number."""
        key = canonical_id(number.value)
        return None if key in self._ambiguous else self._ids[key]


def _is_ambiguous(authorities: Iterable[str]) -> bool:
    """Return whether authorities of one format differ: the word before the first space is the format."""
    formats = [authority.partition(" ")[0] for authority in authorities]
    return len(formats) != len(set(formats))


def subject_ids(patient_ids: Iterable[str]) -> Mapping[str, int]:
    """Return the integer of each patient: the first 63 bits of the SHA-256 of its id, the same in every folder.

    Raises:
        ValueError: two patients get the same integer, which no two of a million do by chance.
    """
    subjects = {each: subject_id(each) for each in sorted(set(patient_ids))}
    if len(set(subjects.values())) < len(subjects):
        raise ValueError("two patient ids have the same integer in MEDS; import their files one by one")
    return subjects


def subject_id(patient_id: str) -> int:
    """Return the integer of a patient."""
    digest = hashlib.sha256(patient_id.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _BITS)
