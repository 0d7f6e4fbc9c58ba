"""Find known names in running text, in any spelling.

Names and text are folded in the same way (case, diacritics, ``ae`` for ``ä``, apostrophes, wrong character sets) and
compared word by word, so that every match has a position in the original text.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple

from polyclinic.privacy.span import Span
from polyclinic.privacy.words import ACRONYMS, BRIDGES, COMMON, NOT_NAMES, NOUNS, PARTICLES, TITLES

KNOWN = "known name"
_SHORT_NAME, _SHORT_NUMBER, _LONG_COMPOUND, _MOST_WORDS = 3, 4, 6, 4
_MOST_SPELLINGS = 16
_BETWEEN, _PART, _NAME = 1, 2, 3
_APOSTROPHES = "'`´‘’‛′ʹʻʼʽˈ׳＇"  # noqa: RUF001
_DASHES = "‐‑‒–—―−﹣－"  # noqa: RUF001
_INVISIBLE = "\x80-\x9f\u00ad\u200b-\u200f\u2060\ufeff"
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0971-\u0e4e"
)
_NO_APOSTROPHES = str.maketrans("", "", _APOSTROPHES)
_LETTER = rf"(?:[^\W\d_]|[{_MARKS}])"
_TOKEN = re.compile(
    rf"(?:{_LETTER}|\ufffd|\?(?=[^\W\d_]))(?:{_LETTER}|[{_INVISIBLE}\ufffd]|[{_APOSTROPHES}?](?=[^\W\d_]))*"
)
_SPLIT = re.compile(rf"[\s^,=;\\._/()\[\]\"-]+|[{_DASHES}]")
_GAP = re.compile(rf"[\s^,._=\-{_DASHES}{_APOSTROPHES}]{{1,3}}")
_JOINT = re.compile(rf"[\s.\-{_DASHES}{_APOSTROPHES}]{{1,4}}")
_UNSPACED = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_WILD = re.compile("\ufffd+|\\?")
_BREAK = re.compile(f"[{_APOSTROPHES}{_INVISIBLE}\ufffd?]")
_POSSESSIVE = re.compile(rf"[{_APOSTROPHES}]s?$", re.IGNORECASE)

# Letters with two spellings, and letters without a Unicode decomposition.
_SPELLINGS = {
    **{"ä": ("a", "ae"), "ö": ("o", "oe"), "ü": ("u", "ue"), "ø": ("o", "oe"), "å": ("a", "aa")},
    **{"æ": ("ae", "a"), "œ": ("oe", "o"), "đ": ("d", "dj"), "þ": ("th", "p"), "ð": ("d", "th")},
    **{
        "ł": ("l",),
        "\N{LATIN SMALL LETTER DOTLESS I}": ("i",),
        "ħ": ("h",),
        "ŧ": ("t",),
        "ŋ": ("n",),
        "\ufffd": ("\ufffd",),
        "?": ("\ufffd",),
    },
    **dict.fromkeys(_APOSTROPHES, ("",)),
}
_UMLAUT = re.compile("(?<=[aou])e")
# Character sets of wrongly decoded text: the one that it was stored in, and the one that it was read as.
_STORED = ("utf-8", "latin-1", "cp1252", "cp1250", "iso8859-2", "iso8859-9", "cp1251", "koi8-r", "iso8859-5")
_STORED_TOO = ("iso8859-7", "cp850", "cp437", "mac-roman")
_READ = ("latin-1", "cp1252", "utf-8")
_UTF_8_READ_WRONG = re.compile("[\u00c2-\u00f4](?=[^\x00-\x7f])")


class Token(NamedTuple):
    """A word with its character set repaired, and its position in the original text."""

    word: str
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """Return the words of a text, after repairing UTF-8 that was read as Latin-1 or cp1252."""
    repaired, starts = _repaired(text)
    if starts is not None:
        again, places = _repaired(repaired)
        repaired, starts = again, starts if places is None else [starts[place] for place in places]
    words = _TOKEN.finditer(repaired)
    if starts is None:
        return [Token(word[0], *word.span()) for word in words]
    return [Token(word[0], starts[word.start()], starts[word.end()]) for word in words]


def _repaired(text: str) -> tuple[str, list[int] | None]:
    """Return the text with repaired characters and their original positions; None where nothing changes."""
    if not _UTF_8_READ_WRONG.search(text):
        return text, None
    signs, starts, place, changed = list[str](), list[int](), 0, False
    while place < len(text):
        sign, length = (text[place], 1) if text[place] < "\xc2" else _read_anew(text, place)
        changed |= length > 1
        signs.append(sign)
        starts.append(place)
        place += length
    return ("".join(signs), [*starts, len(text)]) if changed else (text, None)


def _read_anew(text: str, place: int) -> tuple[str, int]:
    """Return the repaired character at a position and its original length: ``Ã¼`` is one ``ü``."""
    for length in (2, 3, 4):
        stretch = text[place : place + length]
        for first in {stretch[0], stretch[0].upper() if stretch[0] in "ãå" else stretch[0]}:
            try:
                sign = b"".join(map(_byte, first + stretch[1:])).decode()
            except UnicodeError:
                continue
            if len(sign) == 1 and len(stretch) == length:
                return sign, length
    return text[place], 1


def _byte(sign: str) -> bytes:
    """Encode a character in cp1252, whose five gaps are read as Latin-1."""
    try:
        return sign.encode("cp1252")
    except UnicodeEncodeError:
        return sign.encode("latin-1")


@lru_cache(maxsize=1 << 16)
def folded(word: str) -> frozenset[str]:
    """Return all spellings of a word in lower case without diacritics: ``Müller`` is ``muller`` and ``mueller``."""
    spellings = [_letters(sign) for sign in unicodedata.normalize("NFC", word).casefold()]
    several = [place for place, choice in enumerate(spellings) if len(choice) > 1]
    if 2 ** len(several) > _MOST_SPELLINGS:
        found = {"".join(choice[min(i, len(choice) - 1)] for choice in spellings) for i in (0, 1)}
    else:
        found = {"".join(choice) for choice in product(*spellings)}
    return frozenset(
        form for plain in found for form in (plain, _UMLAUT.sub("", plain)) if _is_distinctive(form, plain)
    )


def _is_distinctive(collapsed: str, plain: str) -> bool:
    """Return False for a short word without its ``e``, which is another word: *Doe* is not *do*."""
    return collapsed == plain or len(collapsed) > _SHORT_NAME


@lru_cache(maxsize=1 << 12)
def _letters(sign: str) -> tuple[str, ...]:
    if sign in _SPELLINGS:
        return _SPELLINGS[sign]
    if _UNSPACED.match(sign):
        return (unicodedata.normalize("NFKC", sign),)
    plain = unicodedata.normalize("NFKD", sign)
    return ("".join(letter for letter in plain if letter.isalnum()),)


def misread(name: str) -> set[str]:
    """Return a name and its forms after decoding its bytes in another character set, rightly or wrongly."""
    found = {name}
    if name.isascii():
        return found
    for stored in (*_STORED, *_STORED_TOO):
        for read in _READ:
            for source, target in ((stored, read), (read, stored)):
                try:
                    found.add(name.encode(source).decode(target))
                except UnicodeError:
                    continue
    return {form for form in found if "\ufffd" not in form or "\ufffd" in name}


@dataclass(frozen=True, kw_only=True)
class KnownNames:
    """Names of a patient and of people around them, prepared for the search.

    Attributes:
        strong: folded words that are always removed.
        weak: folded words that are ordinary words too, or too short.
        split: beginnings of ``strong``, to find names that a text splits into several words.
        wild: patterns of words with a lost letter.
        whole: patterns of numbers, and of names in scripts without spaces.
    """

    strong: frozenset[str]
    weak: frozenset[str]
    split: frozenset[str]
    wild: tuple[re.Pattern[str], ...]
    whole: tuple[re.Pattern[str], ...]

    def spans(self, text: str) -> tuple[list[Span], list[Span]]:
        """Return the certain spans of names, and those where only capitals show that an ordinary word is a name."""
        numbers = [Span(*match.span(), KNOWN) for pattern in self.whole for match in pattern.finditer(text)]
        if not (self.strong or self.weak or self.wild):
            return numbers, []
        tokens = tokens_of(text)
        strength = [self._strength(token.word) for token in tokens]
        for place in range(len(tokens)):
            for count in self._taken_apart(text, tokens, place):
                strength[place : place + count] = [_NAME] * count
        sure, unsure = list[Span](), list[Span]()
        for start, end in _runs(text, tokens, strength):
            found = Span(tokens[start].start, tokens[end - 1].end, KNOWN)
            if _NAME in strength[start:end]:
                sure.append(found)
            elif _is_name_here(text, tokens[start:end]):
                unsure.append(found)
        return numbers + sure, unsure

    def _strength(self, word: str) -> int:
        readings = _readings(word)
        if any(self.strong & folded(reading) or self._lost_a_letter(reading) for reading in readings):
            return _NAME
        if any(self.weak & folded(reading) for reading in readings) and (len(word) > 1 or word.isupper()):
            return _PART
        return _BETWEEN if folded(word) & BRIDGES or (len(word) == 1 and word.isupper()) else 0

    def _lost_a_letter(self, word: str) -> bool:
        if self.wild and any(pattern.fullmatch(form) for pattern in self.wild for form in folded(word)):
            return True
        if "\ufffd" not in word and "?" not in word:
            return False
        return any(
            (pattern := _wild_pattern(form)) is not None and any(map(pattern.fullmatch, self.strong))
            for form in folded(word)
        )

    def _taken_apart(self, text: str, tokens: Sequence[Token], place: int) -> Iterator[int]:
        """Yield the numbers of words from a position on that form one name together, as in ``Mc Donald``."""
        if not any(form[:1] in self.split or form[:2] in self.split for form in folded(tokens[place].word)):
            return
        joined = tokens[place].word
        for count in range(2, _MOST_WORDS + 1):
            if place + count > len(tokens):
                return
            between = text[tokens[place + count - 2].end : tokens[place + count - 1].start]
            if not _JOINT.fullmatch(between) or len(joined) > 40:
                return
            joined += tokens[place + count - 1].word
            names = {form for form in folded(joined) | folded(_POSSESSIVE.sub("", joined)) if form in self.strong}
            first, last = tokens[place].word, tokens[place + count - 1].word
            capital = first[0].isupper() or "-" in between or (folded(first) & PARTICLES and last[0].isupper())
            if any(len(form) >= _LONG_COMPOUND for form in names) and capital:
                yield count


def _readings(word: str) -> list[str]:
    """Return a word, its form without a possessive, and its parts at apostrophes and signs of lost letters."""
    pieces = _BREAK.split(word)
    readings = [word, *(piece for piece in pieces if len(pieces) > 1 and len(piece) >= _SHORT_NAME)]
    if any(sign in word for sign in _APOSTROPHES):
        readings.append(_POSSESSIVE.sub("", word))
    if word[-1] in "sS" and len(word) > (_SHORT_NAME + 1 if word[0].isupper() else _SHORT_NAME + 3):
        readings.append(word[:-1])
    return readings


def _runs(text: str, tokens: Sequence[Token], strength: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of neighbouring words that are names, with the words that join them."""
    start = 0
    while start < len(tokens):
        end = start + 1
        if not strength[start]:
            start = end
            continue
        while end < len(tokens) and strength[end] and _GAP.fullmatch(text[tokens[end - 1].end : tokens[end].start]):
            end += 1
        first, last = start, end
        while first < last and not _may_begin(tokens[first].word, strength[first]):
            first += 1
        while last > first and not _may_end(tokens[last - 1].word, strength[last - 1]):
            last -= 1
        if last > first:
            yield first, last
        start = end


def _may_begin(word: str, strength: int) -> bool:
    """Return whether a run may begin with a word: a name, or a part of one with a capital or a particle like *von*."""
    return strength == _NAME or (strength == _PART and (word[0].isupper() or bool(folded(word) & BRIDGES)))


def _may_end(word: str, strength: int) -> bool:
    return strength == _NAME or (strength == _PART and word[0].isupper())


def _is_name_here(text: str, run: Sequence[Token]) -> bool:
    """Return whether ordinary or short words are names: two together, or one with an unexpected capital."""
    words = [_POSSESSIVE.sub("", token.word) for token in run]
    real = [word for word in words if not folded(word) & (PARTICLES | TITLES) and len(word) > 1]
    if len(real) > 1 and len({min(folded(word)) for word in real}) > 1:
        return all(word[:1].isupper() for word in real)
    if not real or not real[0][:1].isupper() or folded(real[0]) & NOUNS:
        return False
    word = real[0]
    if word.isupper() and len(word) > 1:
        around = text[max(0, run[0].start - 30) : run[-1].end + 30].replace(word, "")
        return bool(re.search("[a-zß-öø-ÿ]{2}", around)) and not folded(word) & ACRONYMS
    return (len(word) <= _SHORT_NAME and not folded(word) & COMMON) or not _starts_sentence(text, run[0].start)


def _starts_sentence(text: str, place: int) -> bool:
    before = text[:place].rstrip(" \t\"'([*-")
    return not before or before[-1] in ".!?:\n\r"


@lru_cache(maxsize=256)
def known_names(names: tuple[str, ...]) -> KnownNames:
    """Prepare names and numbers as headers and columns write them; those with a digit only match completely."""
    words, compounds, wild, whole = set[str](), set[str](), set[str](), set[str]()
    # One person in several scripts: PS3.5 section 6.2.1.
    for part in {part.strip() for name in names for part in name.split("=")}:
        if any(map(str.isdigit, part)) and "^" not in part:
            whole.add(_number_pattern(part))
            continue
        if _UNSPACED.search(part):
            whole |= _unspaced_patterns(part)
            continue
        parts = [word for word in _SPLIT.split(part) if word and not any(map(str.isdigit, word))]
        compounds |= _compounds(part, parts)
        for word in {form for piece in parts for form in misread(piece)}:
            if _WILD.search(word):
                wild |= folded(word)
            elif word.translate(_NO_APOSTROPHES).isalpha():
                words.add(word)
            elif len(word) > _SHORT_NAME:
                whole.add(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])")
    forms = {form for word in words for form in folded(word) if form and not folded(word) & (TITLES | NOT_NAMES)}
    weak = {form for form in forms if len(form) < _SHORT_NAME or form in COMMON | NOUNS | PARTICLES | ACRONYMS}
    strong = (forms - weak) | {form for word in compounds for form in folded(word)}
    return KnownNames(
        strong=frozenset(strong),
        weak=frozenset(weak | {form[0] for form in forms if form not in PARTICLES}),
        split=frozenset(form[:length] for form in strong for length in (1, 2) if len(form) >= _LONG_COMPOUND),
        wild=tuple(pattern for form in sorted(wild) if (pattern := _wild_pattern(form)) is not None),
        whole=tuple(re.compile(pattern, re.IGNORECASE) for pattern in sorted(whole, key=len, reverse=True) if pattern),
    )


def _compounds(name: str, words: Sequence[str]) -> set[str]:
    """Return neighbouring words of a name joined into one, in both orders."""
    pairs = [(first, second) for first, second in pairwise(words) if min(len(first), len(second)) > 1]
    joined = {first + second for pair in pairs for first, second in (pair, pair[::-1])}
    if len(words) > 2:
        joined |= {"".join(words), *("".join(_SPLIT.split(component)) for component in name.split("^"))}
    return {compound for compound in joined if len(compound) > _LONG_COMPOUND}


def _number_pattern(number: str) -> str:
    """Return a pattern of a number in any grouping, with or without leading zeros; empty for a short one."""
    parts = re.findall(r"[^\W_]+", number)
    if sum(map(len, parts)) < _SHORT_NUMBER:
        return ""
    if parts[0].isdigit() and len(parts[0].lstrip("0")) > _SHORT_NUMBER:
        parts[0] = parts[0].lstrip("0")
        return rf"(?<![^\W_])0*{_grouped(parts)}(?![^\W_])"
    return rf"(?<![^\W_]){_grouped(parts)}(?![^\W_])"


def _grouped(parts: Sequence[str]) -> str:
    return r"[\W_]{0,3}".join(map(re.escape, parts))


def _unspaced_patterns(name: str) -> set[str]:
    """Return patterns of a name in a script without spaces, whose parts may be joined, in both orders."""
    parts = tuple(map(re.escape, filter(None, re.split(r"[\s^,._・·-]+", unicodedata.normalize("NFC", name)))))
    if len("".join(parts)) < 2:
        return set()
    return {r"[\s^,._・·-]{0,3}".join(order) for order in (parts, parts[::-1])}


@lru_cache(maxsize=1 << 12)
def _wild_pattern(form: str) -> re.Pattern[str] | None:
    """Return a pattern of a folded word with gaps of one or two lost letters; None where too few letters are left."""
    real = sum(sign != "\ufffd" for sign in form)
    if real < _SHORT_NAME or real * 2 < len(form):
        return None
    return re.compile(re.sub("\ufffd+", "[^\\\\W\\\\d_]{1,2}", re.sub("([^\\w\ufffd])", "", form)))


def name_spans(text: str, names: Iterable[str]) -> Iterator[Span]:
    """Yield the spans of known names in any case, order and spelling, with initials and particles.

    Names that are also ordinary or short words (*May*, *Long*, *An*) count where capitals or a neighbour show a name.
    """
    for spans in known_names(tuple(names)).spans(text):
        yield from spans


__all__ = ["KNOWN", "KnownNames", "Token", "folded", "known_names", "name_spans", "tokens_of"]
