"""Match the names in a source to the configured columns, across spellings, languages and synonyms."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from polyclinic.modality import UnreadableSource, identifying_fields, labelled_names

_UNIT = re.compile(r"^(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]$")
_MAX_LISTED_NAMES, _MAX_NAME_LENGTH = 5, 40

_SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("age", "alter", "edad", "eta", "patient age"),
    ("sex", "gender", "geschlecht", "sexe", "sexo", "sesso"),
    ("creatinine", "creat", "crea", "cr", "kreatinin", "creatinina", "serum creatinine", "creatinine serum", "scr"),
    ("urea", "harnstoff", "uree", "urea serum"),
    ("bun", "blood urea nitrogen", "urea nitrogen"),
    ("sodium", "na", "na+", "natrium", "sodio"),
    ("potassium", "k", "k+", "kalium", "potasio", "potassio"),
    ("chloride", "cl", "cl-", "chlorid"),
    ("bicarbonate", "hco3", "hco3-", "bikarbonat"),
    ("haemoglobin", "hemoglobin", "hb", "hgb", "hamoglobin", "hemoglobine", "hemoglobina", "emoglobina"),
    ("haematocrit", "hematocrit", "hct", "hamatokrit", "hematocrite", "hematocrito", "ematocrito"),
    (
        "wbc",
        "leukocytes",
        "leucocytes",
        "white blood cells",
        "white cell count",
        "leukozyten",
        "white blood cell count",
    ),
    ("platelets", "plt", "thrombocytes", "thrombozyten", "platelet count", "plaquettes", "plaquetas"),
    ("rbc", "erythrocytes", "red blood cells", "erythrozyten"),
    ("crp", "c reactive protein", "c reaktives protein"),
    ("glucose", "glu", "blood glucose", "glukose", "glucosa"),
    ("lactate", "laktat", "lactic acid", "lactato"),
    ("bnp", "b type natriuretic peptide", "brain natriuretic peptide"),
    ("nt pro bnp", "n terminal pro bnp"),
    ("troponin", "trop"),
    ("troponin t", "tnt", "hs tnt", "hs troponin t", "high sensitivity troponin t"),
    ("troponin i", "tni", "hs tni", "hs troponin i", "high sensitivity troponin i"),
    ("spo2", "oxygen saturation", "o2 saturation", "sao2", "o2 sat"),
    ("temperature", "temp", "body temperature", "temperatur"),
    ("albumin", "alb"),
    ("bilirubin", "total bilirubin", "bilirubin total"),
    ("alt", "gpt", "sgpt", "alat", "alanine aminotransferase"),
    ("ast", "got", "sgot", "asat", "aspartate aminotransferase"),
    ("ldh", "lactate dehydrogenase"),
    ("calcium", "ca"),
    ("magnesium", "mg"),
    ("inr", "international normalized ratio", "international normalised ratio"),
    ("d dimer", "ddimer"),
    ("heart rate", "hr", "pulse", "herzfrequenz"),
    ("respiratory rate", "rr", "resp rate", "atemfrequenz"),
)
"""Synonyms by quantity. Urea and urea nitrogen, BNP and NT-proBNP, and troponins T and I are different quantities."""


class Matched(NamedTuple):
    """Cells of a source, matched to columns.

    Attributes:
        cells: cells by configured column.
        sources: name in the source, by configured column.
        unused: names in the source that match no column.
    """

    cells: dict[str, str]
    sources: dict[str, str]
    unused: tuple[str, ...]


def match_columns(pairs: Iterable[tuple[str, str, str]], columns: Sequence[str], units: Mapping[str, str]) -> Matched:
    """Match each cell to a column: by exact name, then without case and punctuation, then by synonym.

    Args:
        pairs: name, value and unit of each cell; the unit may be empty, or follow the name in brackets.
        columns: configured columns.
        units: expected unit of each column, checked if the source states one.

    Raises:
        UnreadableSource: a column has two different values, or a unit other than the expected one.
    """
    by_spelling = _by_spelling(columns)
    cells: dict[str, str] = {}
    sources: dict[str, str] = {}
    unused: list[str] = []
    for name, value, stated in pairs:
        bare, unit = split_unit(name) if name not in columns else (name, "")
        column = bare if bare in columns else by_spelling.get(_folded(bare))
        if column is None:
            unused.append(name)
            continue
        _refuse_other_unit(column, stated or unit, units)
        if value and cells.get(column, value) != value:
            raise UnreadableSource(f"column {column!r} is given more than once; expected one value each")
        if value or column not in cells:
            cells[column], sources[column] = value, name
    return Matched(cells, sources, tuple(unused))


def describe_unused(names: Sequence[str]) -> str:
    """Return a short printable note on the names that match no column.

    Names that seem to be those of a person are counted, not listed.
    """
    shown = [repr(name[:_MAX_NAME_LENGTH]) for name in names if not names_person(name)][:_MAX_LISTED_NAMES]
    unlisted = len(names) - len(shown)
    if not shown:
        return f"not used, as no column has the name: {unlisted} {'name' if unlisted == 1 else 'names'}"
    return f"not used, as no column has the name: {', '.join(shown)}{f' and {unlisted} more' if unlisted else ''}"


def names_person(name: str) -> bool:
    """Return whether a column name seems to name a person, which happens if a row is read as the header."""
    return bool(identifying_fields(name) or labelled_names(name))


def quantity(name: str) -> str:
    """Return a key that all spellings and synonyms of a name share."""
    folded = _folded(name)
    return next((names[0] for names in _FOLDED_SYNONYMS if folded in names), folded)


def is_known(name: str) -> bool:
    """Return whether a name is a common one of a laboratory value, a vital sign, age or sex."""
    return _folded(name) in _KNOWN


def _by_spelling(columns: Sequence[str]) -> dict[str, str]:
    """Return the column of every folded spelling that belongs to only one column."""
    spellings: dict[str, set[str]] = {}
    for column in columns:
        folded = _folded(column)
        group = next((names for names in _FOLDED_SYNONYMS if folded in names), (folded,))
        for spelling in group:
            spellings.setdefault(spelling, set()).add(column)
    exact = {_folded(column): column for column in columns}
    return {
        spelling: exact.get(spelling, next(iter(owners)))
        for spelling, owners in spellings.items()
        if len(owners) == 1 or (spelling in exact and sum(_folded(column) == spelling for column in columns) == 1)
    }


def _folded(name: str) -> str:
    """Return a name without case, accents, spaces and punctuation, except the sign of an ion."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in decomposed if letter.isalnum() or letter in "+%")


def split_unit(name: str) -> tuple[str, str]:
    """Return a name without the unit that follows it in brackets, and the unit, which may be empty."""
    match = _UNIT.match(name.strip())
    return (match["name"], match["unit"].strip()) if match else (name.strip(), "")


def _refuse_other_unit(column: str, stated: str, units: Mapping[str, str]) -> None:
    if stated and column in units and _folded_unit(stated) != _folded_unit(units[column]):
        raise UnreadableSource(
            f"column {column!r} is not in {units[column]}; convert it, or set `units` to the unit of the cohort"
        )


def _folded_unit(unit: str) -> str:
    """Normalise a unit: micro signs as u, one spelling of powers of ten, no case, spaces or degree sign."""
    plain = unicodedata.normalize("NFKC", unit).replace("\N{GREEK SMALL LETTER MU}", "u").casefold()
    plain = re.sub(r"[\s°]", "", plain)
    return re.sub(r"^x?10(?:\^|\*|e)", "10^", plain)


_FOLDED_SYNONYMS = tuple(tuple(_folded(name) for name in names) for names in _SYNONYMS)
_KNOWN = frozenset(name for names in _FOLDED_SYNONYMS for name in names)
