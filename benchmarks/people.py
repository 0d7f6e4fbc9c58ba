"""Invented people, their identifiers, and a search for these in files."""

import base64
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

_SYLLABLES = [a + b for a in ("qu", "z", "v", "kr", "dv", "gw", "pl", "th") for b in ("o", "u", "ai", "ey", "ix", "or")]
_STEM_BYTES = 4
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")


@dataclass(frozen=True)
class Person:
    """A patient with the identifiers that a hospital stores, each unique to the person."""

    family: str
    given: str
    street_name: str
    birth: date
    number: str
    phone: str

    @property
    def name(self) -> str:
        """Given name and family name, as in a sentence."""
        return f"{self.given} {self.family}"

    @property
    def street(self) -> str:
        """Address of house number and street."""
        return f"{self.birth.day} {self.street_name} Street"

    @property
    def email(self) -> str:
        """E-mail address at an unregistered domain."""
        return f"{self.given}.{self.family}@{self.street_name}.example".lower()

    @property
    def texts(self) -> tuple[str, ...]:
        """Identifiers in the forms in which files hold them."""
        days = (f"{self.birth:%Y%m%d}", f"{self.birth:%Y-%m-%d}", f"{self.birth:%d.%m.%Y}")
        names = (f"{self.family}^{self.given}".upper(), self.name, f"{self.family}, {self.given}")
        return (*names, *days, self.number, self.phone, self.street, self.email)

    @property
    def line(self) -> str:
        """All identifiers in one line."""
        return "; ".join(self.texts)

    @property
    def needles(self) -> tuple[str, ...]:
        """Values that identify the person; days of birth are searched for separately."""
        return (self.family, self.given, self.street_name, self.number, self.phone, self.phone.replace(" ", "")[1:])


def people(count: int) -> list[Person]:
    """Invent people; every call returns the same ones."""
    rng = np.random.default_rng(18)
    words: set[str] = set()

    def word() -> str:
        while True:
            syllables = "".join(rng.choice(_SYLLABLES, size=4)).capitalize()
            if len(syllables) >= 8 and syllables not in words:
                words.add(syllables)
                return syllables

    return [
        Person(
            word(),
            word(),
            word(),
            date(1925, 1, 1) + timedelta(int(rng.integers(0, 27_000))),
            str(rng.integers(10**11, 10**12)),
            f"+49 {rng.integers(100, 999)} {rng.integers(1000, 9999)} {rng.integers(1000, 9999)}",
        )
        for _ in range(count)
    ]


class Searcher:
    """A search for people in any bytes: text in several encodings, base64, and zlib streams."""

    def __init__(self, persons: Sequence[Person]) -> None:
        self._needles: dict[bytes, list[tuple[bytes, int]]] = {}
        for index, person in enumerate(persons):
            for needle in {form for text in person.needles for form in _forms(text)}:
                self._needles.setdefault(needle[:_STEM_BYTES], []).append((needle, index))
        self._stems = np.unique(np.frombuffer(b"".join(self._needles), dtype="<u4"))
        self._births = {form.encode(): i for i, person in enumerate(persons) for form in person.texts[3:6]}

    def found(self, content: bytes, owner: int | None = None) -> set[int]:
        """Return the indices of the people with an identifier in the content.

        Args:
            content: content of a file.
            owner: index of the person to whom the file belongs. Its dates are shifted dates of that person, so another
                person's day of birth is a coincidence and does not count.
        """
        return {index for part in (content, *_unpacked(content)) for index in self._in(part.lower(), owner)}

    def left(self, folder: Path, owners: Mapping[str, int] | None = None) -> dict[str, set[int]]:
        """Return the people with an identifier in the name or content of a file, by path below a folder.

        Args:
            folder: folder to search.
            owners: index of the person to whom a file belongs, by the name of the file without its suffix or of its
                folder.
        """
        hits: dict[str, set[int]] = {}
        for file in sorted(folder.rglob("*")):
            path = file.relative_to(folder).as_posix()
            content = file.read_bytes() if file.is_file() else b""
            file_owners = (owners[name] for name in (file.stem, file.parent.name) if owners and name in owners)
            if people := self.found(path.encode()) | self.found(content, next(file_owners, None)):
                hits[path] = people
        return hits

    def _in(self, content: bytes, owner: int | None) -> Iterator[int]:
        for offset in range(min(_STEM_BYTES, len(content))):
            words = np.frombuffer(
                content, dtype="<u4", count=max(0, (len(content) - offset) // _STEM_BYTES), offset=offset
            )
            for place in np.flatnonzero(np.isin(words, self._stems)):
                start = offset + int(place) * _STEM_BYTES
                for needle, index in self._needles[content[start : start + _STEM_BYTES]]:
                    if content.startswith(needle, start):
                        yield index
        for match in re.finditer(rb"(?<!\d)(?:\d{8}|\d{4}-\d\d-\d\d|\d\d\.\d\d\.\d{4})(?!\d)", content):
            if (born := self._births.get(match[0])) is not None and owner in (None, born):
                yield born


def _forms(text: str) -> Iterator[bytes]:
    """Yield the lower-case bytes of a text in the encodings of files, and in base64 at each of the three offsets."""
    lowered = text.lower()
    yield from (lowered.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
    for variant in (text, text.upper()):
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + variant.encode())
            # The first and the last four characters depend on the bytes around the text.
            end = len(encoded) - 4 * ((shift + len(variant)) % 3 != 0)
            yield encoded[4 * (shift > 0) : end].lower()


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Yield the decompressed content of every position that looks like the start of a zlib stream."""
    for match in _ZLIB.finditer(content):
        try:
            yield zlib.decompressobj().decompress(content[match.start() :], 10_000_000)
        except zlib.error:
            continue
