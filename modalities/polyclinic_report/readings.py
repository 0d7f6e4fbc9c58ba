"""Whether decoded text can be what somebody wrote: one alphabet, regular capitals, signs where they belong."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

# ruff: noqa: RUF001 - the letters of other alphabets are meant

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
_LARGEST_SHARE = 0.35
_LONGEST_RUN = 2
_FEWEST_LETTERS = 10
_FEWEST_CHARACTERS = 4
_INSIDE_LATIN = re.compile(r"[a-z]{2}[^\W\d_a-z\x00-\x7f]|[^\W\d_\x00-\x7f][a-z]{2}")
_FEWEST_KANA = 0.1
_COMMON_SHARE = 0.9
_LAST_LATIN = 0x7F
_COMMON = {"gb18030": ("gb2312", 0xD7), "big5": ("big5", 0xC6)}
"""First bytes up to which GB 2312 and Big5 have their common characters, the rare ones behind them."""

_LAST_HANGUL = 0xC8
"""First byte up to which EUC-KR has syllables where GB 2312 has common characters."""


class Reading(NamedTuple):
    """Text in one encoding that can be what was written.

    Attributes:
        words: how often common words of a language occur of which its letters are.
        sufficient: whether there is enough of it to be taken where there is no other reading.
    """

    text: str
    encoding: str
    words: int
    sufficient: bool


def reading_of(text: str, encoding: str) -> Reading | None:
    """Judge a text as a reading of bytes; None where nobody can have written it."""
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
    """Whether no capital follows a small letter, where one of them is not ASCII."""
    return not any(
        former.islower() and latter.isupper() and not (former + latter).isascii() for former, latter in pairwise(word)
    )


def _latin(text: str, encoding: str, words: list[str], used: set[str]) -> Reading | None:
    """Few letters with accents, all of them of one language."""
    foreign = [word for word in words if not word.isascii()]
    accents = sum(letter > "\x7f" for word in foreign for letter in word)
    longest = max((len(run) for word in foreign for run in re.findall(r"[^\x00-\x7f]+", word)), default=0)
    if accents > _LARGEST_SHARE * sum(map(len, words)) or longest > _LONGEST_RUN:
        return None
    found = _words_of_language(words, used, _LATIN)
    # Signs alone, and letters of a rarer code page without a word that is known, can be something else.
    return None if found is None else Reading(text, encoding, found, encoding == "cp1252" or (bool(used) and found > 0))


def _other_alphabet(text: str, encoding: str, words: list[str], letters: set[str]) -> Reading | None:
    """Words that have no letter in common with ASCII."""
    foreign = [word for word in words if not word.isascii()]
    if any(letter <= "\x7f" for word in foreign for letter in word):
        return None
    found, count = _words_of_language(words, letters, _OTHER), sum(map(len, foreign))
    return None if found is None else Reading(text, encoding, found, found > 0 and count >= _FEWEST_LETTERS)


def _words_of_language(words: list[str], letters: set[str], languages: Mapping[str, tuple[str, str]]) -> int | None:
    """Most occurrences of a language's common words, of the languages that have all the letters; None without one."""
    used = {part for letter in letters for part in letter.lower() if part > "\x7f"}
    counts = Counter(word.lower() for word in words)
    found = [
        sum(counts[word] for word in common.split()) for alphabet, common in languages.values() if used <= set(alphabet)
    ]
    return max(found, default=None)


def _east_asian(text: str, encoding: str, letters: set[str], scripts: set[str]) -> Reading | None:
    """Common characters of the one language that an encoding is for."""
    count = sum(text.count(letter) for letter in letters)
    if len(letters) < _FEWEST_CHARACTERS or _INSIDE_LATIN.search(text):
        return None
    kana = sum(text.count(letter) for letter in letters if "\u3040" <= letter <= "\u30ff")
    hangul = sum(text.count(letter) for letter in letters if "\uac00" <= letter <= "\ud7a3")
    if encoding in _COMMON:
        codec, last = _COMMON[encoding]
        firsts = [letter.encode(codec, "replace")[0] for letter in letters]
        common = sum(_LAST_LATIN < first <= last for first in firsts) >= _COMMON_SHARE * len(firsts)
        right = scripts == {"CJK"} and common and (encoding == "big5" or max(firsts) > _LAST_HANGUL)
    elif encoding in ("cp932", "euc-jp"):
        right = scripts <= {"CJK", "HIRAGANA", "KATAKANA"} and kana >= _FEWEST_KANA * count
    else:
        right = encoding == "cp949" and scripts <= {"HANGUL", "CJK"} and hangul >= _COMMON_SHARE * count
    return Reading(text, encoding, 0, count >= _FEWEST_LETTERS) if right else None
