"""Names of months and weekdays in English, German, French, Spanish and Italian, long and short."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

_MONTHS: dict[str, tuple[str, ...]] = {
    "en": (
        *("January Jan", "February Feb Febuary", "March Mar", "April Apr", "May May", "June Jun", "July Jul"),
        *("August Aug", "September Sep Sept", "October Oct", "November Nov", "December Dec"),
    ),
    "de": (
        *("Januar Jan Jänner Jän", "Februar Feb Feber", "März Mär Mrz Maerz Marz", "April Apr", "Mai Mai", "Juni Jun"),
        *("Juli Jul", "August Aug", "September Sep Sept", "Oktober Okt", "November Nov", "Dezember Dez"),
    ),
    "fr": (
        *(
            "janvier janv jan",
            "février févr fév",
            "mars mars",
            "avril avr",
            "mai mai",
            "juin juin",
            "juillet juil juill",
        ),
        *("août août", "septembre sept", "octobre oct", "novembre nov", "décembre déc"),
    ),
    "es": (
        *("enero ene", "febrero feb", "marzo mar", "abril abr", "mayo may", "junio jun", "julio jul", "agosto ago"),
        *("septiembre sep sept setiembre set", "octubre oct", "noviembre nov", "diciembre dic"),
    ),
    "it": (
        *(
            "gennaio gen genn",
            "febbraio feb febbr",
            "marzo mar",
            "aprile apr",
            "maggio mag",
            "giugno giu",
            "luglio lug",
        ),
        *("agosto ago", "settembre set sett", "ottobre ott", "novembre nov", "dicembre dic"),
    ),
}
_WEEKDAYS: dict[str, tuple[str, ...]] = {
    "en": (
        *("Monday Mon", "Tuesday Tue Tues", "Wednesday Wed", "Thursday Thu Thur Thurs", "Friday Fri", "Saturday Sat"),
        "Sunday Sun",
    ),
    "de": (
        "Montag Mo",
        "Dienstag Di",
        "Mittwoch Mi",
        "Donnerstag Do",
        "Freitag Fr",
        "Samstag Sa Sonnabend",
        "Sonntag So",
    ),
    "fr": ("lundi lun", "mardi mar", "mercredi mer", "jeudi jeu", "vendredi ven", "samedi sam", "dimanche dim"),
    "es": ("lunes lun", "martes mar", "miércoles mié", "jueves jue", "viernes vie", "sábado sáb", "domingo dom"),
    "it": ("lunedì lun", "martedì mar", "mercoledì mer", "giovedì gio", "venerdì ven", "sabato sab", "domenica dom"),
}
_FREQUENT = {
    "en": "the of and with on in is was for no to at from by",
    "de": "der die das und mit am vom im ist kein keine den bei seit zum nicht",
    "fr": "le la les et du des est avec pas une un au depuis dans par",
    "es": "el la los y del con sin una un por desde se en no al",
    "it": "il la gli e del della con non una un dal nel di per al",
}
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFD", name)
    return "".join(sign for sign in decomposed if not unicodedata.combining(sign)).lower()


def _numbers(names: dict[str, tuple[str, ...]]) -> dict[str, dict[str, int]]:
    """Return the index of each name from 0, by the name without accents and by language."""
    found: dict[str, dict[str, int]] = {}
    for language, several in names.items():
        for place, forms in enumerate(several):
            for form in forms.split():
                found.setdefault(_plain(form), {})[language] = place
    return found


def _either(names: dict[str, tuple[str, ...]]) -> str:
    forms = set(chain.from_iterable(several.split() for several in chain(*names.values())))
    # With and without accents, the longest first.
    return "|".join(sorted({*forms, *map(_plain, forms)}, key=lambda form: (-len(form), form)))


_MONTH_PLACES, _WEEKDAY_PLACES = _numbers(_MONTHS), _numbers(_WEEKDAYS)

MONTH = _either(_MONTHS)
"""Pattern of all names of months."""
WEEKDAY = _either(_WEEKDAYS)
"""Pattern of all names of weekdays."""
ROMAN = "|".join(sorted(_ROMAN, key=len, reverse=True))
"""Pattern of months as Roman numerals."""


def language_of(text: str) -> str:
    """Return the language of a text by its frequent words: en, de, fr, es or it; en where there are none."""
    words = Counter(re.findall(r"[^\W\d_]+", text[:20_000].lower()))
    return max(_FREQUENT, key=lambda language: sum(words[word] for word in _FREQUENT[language].split()))


def month_number(name: str) -> int:
    """Return the number of a month, from 1 to 12."""
    if name.upper() in _ROMAN:
        return 1 + _ROMAN.index(name.upper())
    return 1 + next(iter(_MONTH_PLACES[_plain(name)].values()))


def month_like(month: int, like: str, language: str, *, short: bool) -> str:
    """Return the name of a month in the language, the length and the case of a given name.

    Args:
        month: number of the month, 1 to 12.
        like: name of a month in the text.
        language: preferred language where several have that name.
        short: whether to abbreviate where ``like`` is both long and short, as *May* is.
    """
    if like.upper() in _ROMAN:
        return _ROMAN[month - 1]
    return _like(month - 1, like, language, _MONTHS, _MONTH_PLACES, short=short)


def weekday_like(weekday: int, like: str, language: str) -> str:
    """Return the name of a weekday (0 is Monday) in the language, the length and the case of a given name."""
    return _like(weekday, like, language, _WEEKDAYS, _WEEKDAY_PLACES, short=False)


def _like(
    place: int,
    like: str,
    language: str,
    names: dict[str, tuple[str, ...]],
    places: dict[str, dict[str, int]],
    *,
    short: bool,
) -> str:
    found = places[_plain(like)]
    chosen = _first_of((language, *names), found)
    long, brief = names[chosen][place].split()[:2]
    was_long, was_brief = (_plain(form) for form in names[chosen][found[chosen]].split()[:2])
    is_short = short if was_long == was_brief else _plain(like) != was_long and len(like) <= len(was_brief) + 1
    name = brief if is_short else long
    if like.isupper():
        return name.upper()
    return name.lower() if like.islower() else name.capitalize()


def _first_of(wanted: Iterable[str], found: Sequence[str] | dict[str, int]) -> str:
    return next(language for language in wanted if language in found)
