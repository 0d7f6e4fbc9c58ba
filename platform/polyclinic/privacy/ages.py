"""Cap ages over 89 at 90 (45 CFR 164.514(b)(2)(i)(C)), and recognise columns of ages or births."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date

from polyclinic.privacy.dates import date_spans
from polyclinic.privacy.span import GAP, Span, matches, windows

OLDEST = 90
_AGE = r"(?<![\d.,/])(?P<age>0?9\d|1[0-3]\d)(?P<part>[.,]\d{1,2})?(?!\d)"
_UNIT = (
    r"(?:years?|yrs?|y[./ ]?o|y|jahren?|jährige?[rnsm]?|jaehrige?[rnsm]?|lebensjahre?[ns]?|lj|ans|años|anos|anni|anys"
    r"|enne|jaar)(?:[mf](?![^\W_]))?"
)
_FOR = r"(?:of|is|was|de|di|von|ist|over|über|plus[ ]de|más[ ]de|circa|ca\.|about|>)"
_LABEL = r"(?:ages?|aged|alter|lebensalter|âg[eé]e?s?|ag[ée]e?s?|edad|età|eta|edades)"
_PERSON = r"(?:patient(?:in|e)?|paziente|paciente|pt|mann|frau|man|woman|homme|femme|weiblich|männlich|male|female)"
_PATTERNS = (
    rf"{_AGE}(?=\.?[\s\u00a0-]{{0,3}}{_UNIT}(?![^\W_]))",
    rf"{_AGE}(?=[ ]?(?:-|\u2013|to|bis|à|a)[ ]?\d{{2,3}}[ -]?{_UNIT}(?![^\W_]))",
    rf"\b{_LABEL}(?:[ ]?\([^)\d]{{1,12}}\))?[ \t]{{0,2}}[:=]?[ \t]{{0,3}}(?:{_FOR}[ ])?{_AGE}(?![ ]?%)",
    rf"(?-i:{_AGE}[MF](?![\w]))|(?<![\d.,/])(?-i:(?P<age_w>9\d|10[1-9])W)(?![\w])",
    rf"{_AGE}(?=[ ]?/[ ]?[mfw](?![\w/]))",
    rf"(?<![\w])[mfw][ ]?/[ ]?{_AGE.replace(',/]', ',]')}(?![\w.%])",
    rf"\([ ]?[mfw][ ]?,[ ]?{_AGE}[ ]?\)",
    rf"\([ ]?{_AGE}[ ]?,?[ ]?[mfwj]\.?[ ]?\)",
    rf"(?:^|\b{_PERSON},?[ ]){_AGE}[ ]?[mfwj](?![\w])",
)
_AGES = [re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in _PATTERNS]
_ORDINAL = re.compile(
    r"(?<![\d.,/])(?P<age>9\d|1[0-3]\d)(?P<end>st|nd|rd|th|\.|e|ème)"
    r"(?=[ ](?:year|birthday|geburtstag|année|anniversaire))",
    re.IGNORECASE,
)

_DIGITS_DE = "ein|zwei|drei|vier|fünf|fuenf|sechs|sieben|acht|neun"
_WORDS = {
    "ninety": r"ninety(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?(?=[- ]years?)",
    "ninety ": r"(?:(?:one|a)[ -])?hundred(?:[- ]and)?(?:[- ](?:one|two|three|four|five|six|seven|eight|nine|ten))?[ -]"
    r"(?=years?)",
    "neunzig": rf"(?:(?:(?:{_DIGITS_DE})und)?neunzig|(?:ein)?hundert(?:und)?(?:eins?|{_DIGITS_DE})?)"
    r"(?=[- ]?jahre?|[- ]?jährig)",
    "quatre-vingt-dix": r"(?:quatre[- ]vingts?[- ](?:dix(?:[- ](?:sept|huit|neuf))?|onze|douze|treize|quatorze|quinze"
    r"|seize)|cent(?:[- ](?:un|deux|trois|quatre|cinq|six|sept|huit|neuf|dix))?)(?=[ ]ans)",
    "noventa": r"(?:noventa(?:[ ]y[ ](?:un[oa]?|dos|tres|cuatro|cinco|seis|siete|ocho|nueve))?"
    r"|cient?o?(?:[ ](?:un[oa]?|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez))?)(?=[ ]años)",
    "novanta": r"(?:novant(?:a(?:due|tr[eé]|quattro|cinque|sei|sette|nove)?|uno?|otto)|cento(?:uno|due|tr[eé])?)"
    r"(?=[ ]anni)",
    "novant": r"novant(?:un|adue?|atre|aquattr|acinqu|asei|asett|ott|anov)(?=enn[ei])",
    GAP: r"centenarians?|hundertjährige?[rnms]?|centenaires?|centenari[oae]s?|ultracentenari[oae]",
}
_OLD = re.compile(r"9\d|1[0-3]\d")
_OLD_IN_WORDS = re.compile("ninety|hundred|neunzig|hundert|vingt|cent|noventa|novant|cien", re.IGNORECASE)
_WRITTEN = [(message, re.compile(rf"(?<![^\W_]){pattern}", re.IGNORECASE)) for message, pattern in _WORDS.items()]


def age_spans(text: str) -> Iterator[Span]:
    """Yield ages over 89 in numbers and words, each with its replacement by 90."""
    numbers = windows(_OLD, text)
    for pattern in _AGES:
        for match in matches(pattern, text, numbers):
            group = "age_w" if "age_w" in pattern.groupindex and match["age_w"] else "age"
            start, end = match.start(group), max(match.end(group), match.end("part"))
            if int(match[group]) >= OLDEST:
                yield Span(start, end, "age", f"{OLDEST:03d}" if match[group][0] == "0" else f"{OLDEST}")
    for match in matches(_ORDINAL, text, numbers):
        yield Span(*match.span(), "age", f"{OLDEST}{'th' if len(match['end']) == 2 else match['end']}")
    words = windows(_OLD_IN_WORDS, text)
    for message, written in _WRITTEN:
        yield from (Span(*match.span(), "age", message) for match in matches(written, text, words))


_COLUMN_AGE = re.compile(
    r"(?:pat(?:ient)?|pt|subj(?:ect)?|onset|lebens|patienten)?(?:age|alter|edad|eta)"
    r"(?:y|yr|yrs|years?|at\w*|in\w*|grp|group|band|cat\w*|bin|decade|mo|months?|days?|jahre?|anos|ans|anni|gruppe)?"
)
_COLUMN_BIRTH = re.compile(
    r"birth|geburt|naissance|nacimiento|nascita|nascimento|geboren|jahrgang"
    r"|(?:^|[^a-z])(?:dob|yob|born|bday|fnac|geb|gebdat\w*)(?:$|[^a-z])"
)
_NOT_WHEN_BORN = re.compile(
    r"weight|gewicht|poids|peso|order|mode|type|length|laenge|place|country|ort$|preterm|live|still"
)
_PER_YEAR = {"mo": 12, "month": 12, "monat": 12, "mois": 12, "mes": 12, "week": 52.18, "woche": 52.18, "day": 365.25,
             "tag": 365.25, "jour": 365.25, "dia": 365.25}  # fmt: skip
_NUMBER = re.compile(r"(?<![^\W_])\d+(?:[.,]\d+)?(?:e[+-]?\d+)?")
_ABOVE = re.compile(r"[>≥+]|\bover\b|\babove\b|\bolder\b|\bmore\b|über|älter|mehr|plus|más|mayor|oltre", re.IGNORECASE)
_DATED = re.compile(r"\d{4}")


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFD", name)
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign))


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", _plain(name))]


def holds_age(name: str) -> bool:
    """Return whether a column holds ages by its name, in any case: ``age_years``, ``PatientAge``, ``Alter``."""
    words = _words(name)
    return any(_COLUMN_AGE.fullmatch(word) or word in ("aged", "ages") for word in (*words, _plain(name).lower()))


def holds_birth(name: str, cells: Iterable[str]) -> bool:
    """Return whether a column holds dates or years of birth, by its name or because its years are too early."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    plain = _plain(name).lower()
    if _COLUMN_BIRTH.search(" ".join([plain, *_words(name)])) and not _NOT_WHEN_BORN.search(plain):
        return any(_DATED.search(cell) or next(date_spans(cell, -1), None) is not None for cell in filled)
    years = [_float(cell) for cell in filled]
    if not years or not all(value is not None and value.is_integer() and 1850 <= value <= 2100 for value in years):
        return False
    return min(value for value in years if value is not None) < date.today().year - OLDEST


def _float(cell: str) -> float | None:
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return None


def capped_age(name: str, cell: str) -> str | None:
    """Return the replacement of an age over 89; None where the cell may stay.

    Args:
        name: name of the column, which may include a unit, such as months.
        cell: number in any notation, with or without a unit, or a band such as ``95-99`` or ``>90``.
    """
    numbers = [float(found.replace(",", ".")) for found in _NUMBER.findall(_split_unit(cell.lower()))]
    if not numbers:
        return None
    scale = _scale(cell) or _scale(name) or 1.0
    low = min(numbers) / scale
    banded = len(numbers) > 1 or _ABOVE.search(re.sub(r"e\+", "e", cell.lower())) is not None
    if banded:
        return f"{OLDEST}+" if low >= OLDEST or (low >= OLDEST - 1 and re.search("[>(]", cell)) else None
    unit = re.sub(r"[\W\d]+", "", cell) if _scale(cell) else ""
    return f"{round(OLDEST * scale)}{unit}" if low > OLDEST else None


def _split_unit(cell: str) -> str:
    """Separate a number from its unit, as in ``101y``."""
    return re.sub(r"(?<=\d)(?=[a-df-zäöü])", " ", cell)


def _scale(text: str) -> float:
    """Return the number of units per year for the unit in a text; 0 where it has none."""
    for word in _words(re.sub(r"(?<=\d)([mwd])$", r" \1", text.lower())):
        for unit, count in _PER_YEAR.items():
            if word.startswith(unit) and len(word) <= len(unit) + 2:
                return count
        if word in ("m", "w", "d") and re.fullmatch(r"\d+[mwd]", text.strip().lower()):
            return {"m": 12, "w": 52.18, "d": 365.25}[word]
    return 0.0
