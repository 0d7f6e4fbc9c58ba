"""Pseudonyms of a patient: ids, UIDs and shifted dates, derived from a secret key of the hospital."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

from polyclinic.privacy.text import Tagger, name_spans, scrubbed
from polyclinic.system.secret import refuse_shared

_SHORTEST_KEY = 32
_LONGEST_SHIFT = 3650
_LONG_ENOUGH, _LONG_NUMBER = 6, 8
_STEP = 1 << 24


def read_key(path: Path) -> bytes:
    """Read a secret key, without white space at its ends.

    Raises:
        ValueError: the file is missing or readable by others than its owner, or has fewer than 32 bytes or 8 different
            ones.
    """
    refuse_shared(path, "key")
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(
            f"the key cannot be read ({type(error).__name__}); set `--key` to a file that the hospital keeps, "
            "made once with: (umask 077; python -c 'import secrets; print(secrets.token_hex(32))' > KEYFILE)"
        ) from None
    if len(key) < _SHORTEST_KEY or len(set(key)) < 8:
        raise ValueError(
            f"got a key of {len(key)} bytes, expected {_SHORTEST_KEY} or more, drawn at random; set `--key`"
        )
    return key


def mapped(key: bytes, kind: str, value: str) -> str:
    """Return a pseudonym of 16 hexadecimal digits, a function of key, kind and value (HMAC-SHA-256, RFC 2104)."""
    return _digest(key, kind, value).hex()[:16]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The identity of a patient during de-identification.

    Attributes:
        key: secret key; with it, the patient of a pseudonym can be found by trying all ids.
        patient: id in the hospital.
        names: names of the patient and of people around them, as headers and columns write them.
    """

    key: bytes = field(repr=False)
    patient: str = field(repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)

    def mapped(self, kind: str, value: str) -> str:
        """Return the pseudonym of a value under the key of this identity."""
        return mapped(self.key, kind, value)

    @property
    def patient_id(self) -> str:
        """Pseudonymous id of the patient outside the hospital."""
        return mapped(self.key, "patient", self.patient)

    @property
    def days(self) -> int:
        """Shift of all dates of the patient in days, from -1 to -3650, which preserves intervals."""
        drawn = int.from_bytes(_digest(self.key, "days", self.patient)[:8], "big")
        return -1 - drawn % _LONGEST_SHIFT

    def moved(self, day: date) -> date | None:
        """Return a shifted date; None where it is out of range."""
        try:
            return day + timedelta(self.days)
        except OverflowError:
            return None

    def uid(self, uid: str) -> str:
        """Return the replacement of a DICOM UID, the same in all files (PS3.5 B.2: derived from a UUID)."""
        return f"2.25.{UUID(bytes=_digest(self.key, 'uid', uid)[:16], version=4).int}"

    def text(self, text: str, tagger: Tagger | None = None) -> tuple[str, Counter[str]]:
        """Return a text after ``scrubbed``, and the number of replacements by rule."""
        return scrubbed(text, names=self.names, days=self.days, tagger=tagger)

    def is_named_in(self, text: str) -> bool:
        """Return whether a text holds a known name."""
        return next(name_spans(text, self.names), None) is not None

    def is_in(self, content: bytes) -> bool:
        """Return whether bytes hold a complete known name or number that is too long to occur by chance."""
        lowered = content.lower()
        return any(needle in lowered for needle in self._needles())

    def is_in_file(self, path: Path) -> bool:
        """Return whether a file of any size holds a complete known name or number."""
        overlap = b""
        with path.open("rb") as stream:
            while piece := stream.read(_STEP):
                if self.is_in(overlap + piece):
                    return True
                overlap = piece[-512:]
        return False

    def _needles(self) -> Iterator[bytes]:
        for name in (*self.names, self.patient):
            if len(name) >= (_LONG_NUMBER if name.isdigit() else _LONG_ENOUGH):
                for encoding in ("utf-8", "utf-16-le", "latin-1"):
                    yield name.lower().encode(encoding, errors="replace")


def _digest(key: bytes, kind: str, value: str) -> bytes:
    return hmac.new(key, f"{kind}\0{value}".encode(errors="surrogateescape"), hashlib.sha256).digest()
