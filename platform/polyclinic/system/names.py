"""Messages on a name that is not known, with the known names that resemble it."""

from collections.abc import Iterable
from difflib import get_close_matches

_MAX_LISTED, _MAX_LISTED_ALONE = 12, 40
_MAX_NEAREST = 3


def refuse_unknown(kind: str, names: Iterable[str], known: Iterable[str], remedy: str) -> None:
    """Refuse the first name that is not known.

    Args:
        kind: what is named, such as ``modality``.
        names: names that the user gave.
        known: all names that are accepted.
        remedy: what to set, such as ``set `--query```.

    Raises:
        ValueError: a name is not known; the message lists the known ones, or those that resemble it.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"got {kind} {name!r}, {expected_name(name, known)}; {remedy}")


def expected_name(word: str, known: Iterable[str]) -> str:
    """Return ``expected perhaps A or B`` with the known names that resemble a word, otherwise ``expected one of ...``.

    Up to twelve known names are listed in both cases.
    """
    names = list(known)
    if not (found := _nearest(word, names)):
        more = ", ..." if len(names) > _MAX_LISTED_ALONE else ""
        return f"expected one of {names[:_MAX_LISTED_ALONE]}{more}"
    listed = f" (one of {names})" if len(names) <= _MAX_LISTED else ""
    return f"expected perhaps {' or '.join(found)}{listed}"


def perhaps(word: str, known: Iterable[str]) -> str:
    """Return ``, expected perhaps A or B`` with the known names that resemble a word; empty if none does."""
    found = _nearest(word, list(known))
    return f", expected perhaps {' or '.join(found)}" if found else ""


def _nearest(word: str, known: list[str]) -> list[str]:
    """Return the names that resemble a word in any case, also by the part after their last dot, the nearest first."""
    by_form = {form: name for name in reversed(known) for form in _forms(name)}
    found = {form: by_form[form] for each in _forms(word) for form in get_close_matches(each, by_form, n=_MAX_NEAREST)}
    return list(dict.fromkeys(found.values()))[:_MAX_NEAREST]


def _forms(name: str) -> list[str]:
    return list(dict.fromkeys([name.lower(), name.lower().rpartition(".")[2]]))
