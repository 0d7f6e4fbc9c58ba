"""Judge whether decoded text is plausible: one alphabet, regular capitals, signs in the right places."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

# ruff: noqa: RUF001 - letters of other alphabets are intended

_LATIN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "English": (
            "éèêëïçñœæ",
            "the of and is are there with without in to for was not has no since right left normal findings heart",
        ),
        "German": (
            "äöüßé",
            "der die das und ist nicht kein keine mit ohne im des eine bei von zu für über unauffällig",
        ),
        "French": ("àâæçéèêëîïôœùûüÿ", "le la les des du de et est un une pas sans en au sur à été"),
        "Spanish": ("áéíóúüñ¿¡ºª", "el la los las de del se en con sin una que por"),
        "Portuguese": ("áâãàçéêíóôõúüºª", "os as de da do das dos em na com sem um uma"),
        "Italian": ("àèéìîòóùºª", "il la le di del della per non con senza nei delle"),
        "Catalan": ("àçéèíïòóúü", "el la els les de amb sense per del dels"),
        "Dutch": ("áéèêëíïóöúü", "de het een van en geen niet met zonder"),
        "Danish or Norwegian": ("æøåéèêòóô", "og er det den en ikke med uden uten ingen av af"),
        "Swedish or Finnish": ("äåöéà", "och är det den ej inte med utan ingen ja on ei ole"),
        "Icelandic": ("áéíóúýþðæö", "og er ekki með engin"),
        "Polish": ("ąćęłńóśźż", "na nie bez do się jest oraz"),
        "Czech": ("áčďéěíňóřšťúůýž", "na je bez se není nejsou ve"),
        "Slovak": ("áäčďéíĺľňóôŕšťúýž", "na je bez sa nie sú vo"),
        "Hungarian": ("áéíóöőúüű", "az nem és nincs van egy"),
        "Slovene or Croatian": ("čšžćđ", "je na bez se in ni nema"),
        "Romanian": ("ăâîșțşţ", "de și şi fără cu în nu la este"),
        "Turkish": ("âçğıîöşüûi̇", "ve bir bu ile için yok olan"),
        "Lithuanian": ("ąčęėįšųūž", "ir be yra nėra"),
        "Latvian": ("āčēģīķļņšūž", "un ir bez nav"),
        "Estonian": ("äõöüšž", "ja ei on"),
    }
)
_OTHER: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Russian": ("абвгдежзийклмнопрстуфхцчшщъыьэюяё", "в не на и нет без с по при до от"),
        "Ukrainian": ("абвгдежзийклмнопрстуфхцчшщьюяґєії", "в не на і без та з до"),
        "Belarusian": ("абвгдежзйклмнопрстуфхцчшыьэюяёіў", "і не без няма ў з на па"),
        "Serbian": ("абвгдежзиклмнопрстуфхцчшђјљњћџ", "и у не је без на са"),
        "Greek": ("αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰ", "και το η ο δεν με της των του στο είναι χωρίς"),
        "Hebrew": ("אבגדהוזחטיכלמנסעפצקרשתךםןףץ", "לא של את עם ללא אין"),
        "Arabic": ("ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئةى", "في من لا على مع بدون ولا"),
    }
)
_SCRIPTS = {"CYRILLIC", "GREEK", "HEBREW", "ARABIC"}
_SIGNS = frozenset("°µ²³±·§«»½¼×–—‘’‚“”„…•€´≤≥№\xa0\xad¿¡ºª")
_WIDE_SIGNS = re.compile("[\u3000-\u303f\uff00-\uff60\u2103\u339c-\u339e]")
_LETTER = r"[^\W\d_²³½¼µºª]"
_WORD = re.compile(rf"{_LETTER}+")
_ODD_SIGN = re.compile(
    rf"{_LETTER}[«»„‚“”•€°±½¼×²³§≤≥№]{_LETTER}|{_LETTER}[¿¡]|[¿¡](?!{_LETTER})|[°€×]{_LETTER}{_LETTER}"
    rf"|(?<!{_LETTER})(?!(?:m|[cdkmµ]m)[²³]){_LETTER}+[²³§±½¼€×]"
)
_MAX_ACCENT_SHARE = 0.35
_MAX_ACCENT_RUN = 2
_MIN_LETTERS = 10
_MIN_CHARACTERS = 4
_INSIDE_LATIN = re.compile(r"[a-z]{2}[^\W\d_a-z\x00-\x7f]|[^\W\d_\x00-\x7f][a-z]{2}")
_MIN_KANA_SHARE = 0.1
_MIN_COMMON_SHARE = 0.9
_LAST_ASCII = 0x7F
_COMMON_ROWS = {"gb18030": ("gb2312", 0xD7), "big5": ("big5", 0xC6)}
"""Codec and last first byte of the common characters of GB 2312 and Big5; rare ones follow."""

_LAST_HANGUL = 0xC8
"""Last first byte of EUC-KR syllables, which overlap with common characters of GB 2312."""


class Candidate(NamedTuple):
    """Plausible decoding of a file.

    Attributes:
        text: decoded text.
        encoding: name of the encoding.
        words: number of common words of the language that has all the letters and most of these words.
        sufficient: whether the evidence suffices if there is no other candidate.
    """

    text: str
    encoding: str
    words: int
    sufficient: bool


def judge(text: str, encoding: str) -> Candidate | None:
    """Return a decoded text as a candidate, or None if it is not plausible."""
    foreign = {character for character in text if character > "\x7f"}
    letters = {character for character in foreign if character.isalpha() and character not in _SIGNS}
    wide = {character for character in foreign - letters if _WIDE_SIGNS.match(character)}
    if not foreign - letters - wide <= _SIGNS or _ODD_SIGN.search(text):
        return None
    scripts = {unicodedata.name(letter, "?").split()[0].split("-")[0] for letter in letters}
    if scripts & {"CJK", "HANGUL", "HIRAGANA", "KATAKANA"} or wide:
        return _east_asian(text, encoding, letters, scripts)
    words = _WORD.findall(text)
    if not all(_is_regular(word) for word in words if not word.isascii()):
        return None
    if scripts <= {"LATIN"}:
        return _latin(text, encoding, words, letters | foreign & set("¿¡ºª"))
    if len(scripts) == 1 and scripts <= _SCRIPTS:
        return _other_alphabet(text, encoding, words, letters)
    return None


def _is_regular(word: str) -> bool:
    """Return whether no capital follows a lower-case letter, if one of the two is not ASCII."""
    return not any(
        former.islower() and latter.isupper() and not (former + latter).isascii() for former, latter in pairwise(word)
    )


def _latin(text: str, encoding: str, words: list[str], used: set[str]) -> Candidate | None:
    """Judge a Latin text: few letters have accents, and all of them belong to one language."""
    foreign = [word for word in words if not word.isascii()]
    accents = sum(letter > "\x7f" for word in foreign for letter in word)
    longest = max((len(run) for word in foreign for run in re.findall(r"[^\x00-\x7f]+", word)), default=0)
    if accents > _MAX_ACCENT_SHARE * sum(map(len, words)) or longest > _MAX_ACCENT_RUN:
        return None
    hits = _words_of_language(words, used, _LATIN)
    # Signs alone, or letters of a rarer code page without a common word, are not sufficient.
    return None if hits is None else Candidate(text, encoding, hits, encoding == "cp1252" or (bool(used) and hits > 0))


def _other_alphabet(text: str, encoding: str, words: list[str], letters: set[str]) -> Candidate | None:
    """Judge a text in another alphabet, whose words must not contain ASCII letters."""
    foreign = [word for word in words if not word.isascii()]
    if any(letter <= "\x7f" for word in foreign for letter in word):
        return None
    hits, count = _words_of_language(words, letters, _OTHER), sum(map(len, foreign))
    return None if hits is None else Candidate(text, encoding, hits, hits > 0 and count >= _MIN_LETTERS)


def _words_of_language(words: list[str], letters: set[str], languages: Mapping[str, tuple[str, str]]) -> int | None:
    """Return the largest number of common words of a language that has all the letters; None without a language."""
    used = {part for letter in letters for part in letter.lower() if part > "\x7f"}
    counts = Counter(word.lower() for word in words)
    totals = [
        sum(counts[word] for word in common.split()) for alphabet, common in languages.values() if used <= set(alphabet)
    ]
    return max(totals, default=None)


def _east_asian(text: str, encoding: str, letters: set[str], scripts: set[str]) -> Candidate | None:
    """Judge an East Asian text: most characters are common in the language of the encoding."""
    count = sum(text.count(letter) for letter in letters)
    if len(letters) < _MIN_CHARACTERS or _INSIDE_LATIN.search(text):
        return None
    kana = sum(text.count(letter) for letter in letters if "\u3040" <= letter <= "\u30ff")
    hangul = sum(text.count(letter) for letter in letters if "\uac00" <= letter <= "\ud7a3")
    if encoding in _COMMON_ROWS:
        codec, last = _COMMON_ROWS[encoding]
        firsts = [letter.encode(codec, "replace")[0] for letter in letters]
        common = sum(_LAST_ASCII < first <= last for first in firsts) >= _MIN_COMMON_SHARE * len(firsts)
        plausible = scripts == {"CJK"} and common and (encoding == "big5" or max(firsts) > _LAST_HANGUL)
    elif encoding in ("cp932", "euc-jp"):
        plausible = scripts <= {"CJK", "HIRAGANA", "KATAKANA"} and kana >= _MIN_KANA_SHARE * count
    else:
        plausible = encoding == "cp949" and scripts <= {"HANGUL", "CJK"} and hangul >= _MIN_COMMON_SHARE * count
    return Candidate(text, encoding, 0, count >= _MIN_LETTERS) if plausible else None
