"""Diagnoses that the PhysioNet/CinC challenge 2021 scores, and the sources of its records."""

from collections.abc import Mapping
from types import MappingProxyType

DIAGNOSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "AF": ("164889003",),
        "AFL": ("164890007",),
        "BBB": ("6374002",),
        "Brady": ("426627000",),
        "LBBB": ("164909002", "733534002"),
        "RBBB": ("59118001", "713427006"),
        "IAVB": ("270492004",),
        "IRBBB": ("713426002",),
        "LAD": ("39732003",),
        "LAnFB": ("445118002",),
        "LQRSV": ("251146004",),
        "NSIVCB": ("698252002",),
        "NSR": ("426783006",),
        "PAC": ("284470004", "63593006"),
        "PR": ("10370003",),
        "PRWP": ("365413008",),
        "PVC": ("427172004", "17338001"),
        "LPR": ("164947007",),
        "LQT": ("111975006",),
        "QAb": ("164917005",),
        "RAD": ("47665007",),
        "SA": ("427393009",),
        "SB": ("426177001",),
        "STach": ("427084000",),
        "TAb": ("164934002",),
        "TInv": ("59931005",),
    }
)
"""SNOMED CT codes of each scored diagnosis, under the abbreviations of ``dx_mapping_scored.csv`` of the challenge.

Four pairs of codes are scored as the same diagnosis: complete with unspecified left, and right, bundle branch block;
premature atrial contractions with supraventricular premature beats; premature ventricular contractions with ventricular
premature beats.
"""

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "cpsc_2018": "^A[0-9]{4}$",
        "cpsc_2018_extra": "^Q[0-9]{4}$",
        "st_petersburg_incart": "^I[0-9]{4}$",
        "ptb": "^S[0-9]{4}$",
        "ptb-xl": "^HR[0-9]{5}$",
        "georgia": "^E[0-9]{5}$",
        "chapman_shaoxing": "^JS(0[0-9]{4}|10[0-5][0-9]{2}|106[0-3][0-9]|1064[0-6])$",
        "ningbo": "^JS[0-9]{5}$",
    }
)
"""Pattern of the record names of each source, under its folder name in the challenge 2021; the first match counts.

Records JS00001 to JS10646 are of Chapman University and Shaoxing People's Hospital, later ones of Ningbo First
Hospital.
"""


def source_of(record: str) -> str:
    """Return a SQL expression for the source of a record, by its name; null if no pattern matches."""
    cases = " ".join(f"WHEN regexp_matches({record}, '{pattern}') THEN '{name}'" for name, pattern in SOURCES.items())
    return f"CASE {cases} END"


def diagnosis_columns(codes: str) -> str:
    """Return SQL columns of the diagnoses: 1 or 0, or null for a record without any code.

    Args:
        codes: column with the list of SNOMED CT codes of a record.
    """
    return ", ".join(
        f'CASE WHEN len({codes}) > 0 THEN CAST(list_has_any({codes}, {list(accepted)!r}) AS INTEGER) END AS "{name}"'
        for name, accepted in DIAGNOSES.items()
    )
