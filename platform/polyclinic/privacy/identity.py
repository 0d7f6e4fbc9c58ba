"""What a patient becomes: ids, UIDs and dates that a secret key of the hospital decides."""

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
    """Read a secret key; white space at its ends is no part of it.

    Raises:
        ValueError: no such file, one that others than its owner may read, or fewer than 32 bytes or 8 different ones.
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
    """Sixteen hexadecimal digits for a value, always the same for one key and kind (HMAC-SHA-256, RFC 2104)."""
    return _digest(key, kind, value).hex()[:16]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One patient on the way out.

    Attributes:
        key: secret; who has it can find out which patient an id stands for by trying.
        patient: id in the hospital.
        names: by which texts may call the patient, or people around them: as headers and columns write them.
    """

    key: bytes = field(repr=False)
    patient: str = field(repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)

    def mapped(self, kind: str, value: str) -> str:
        """What ``mapped`` makes of a value with the key."""
        return mapped(self.key, kind, value)

    @property
    def patient_id(self) -> str:
        """Id outside of the hospital."""
        return mapped(self.key, "patient", self.patient)

    @property
    def days(self) -> int:
        """By how many days all dates of the patient move: -1 to -3650, so that intervals between them stay."""
        drawn = int.from_bytes(_digest(self.key, "days", self.patient)[:8], "big")
        return -1 - drawn % _LONGEST_SHIFT

    def moved(self, day: date) -> date | None:
        """A day, moved; None where there is no such day."""
        try:
            return day + timedelta(self.days)
        except OverflowError:
            return None

    def uid(self, uid: str) -> str:
        """A DICOM UID that stands for another one everywhere (PS3.5 B.2: derived from a UUID)."""
        return f"2.25.{UUID(bytes=_digest(self.key, 'uid', uid)[:16], version=4).int}"

    def text(self, text: str, tagger: Tagger | None = None) -> tuple[str, Counter[str]]:
        """What ``scrubbed`` makes of a text, and how much each rule exchanged."""
        return scrubbed(text, names=self.names, days=self.days, tagger=tagger)

    def is_named_in(self, text: str) -> bool:
        """Whether a text holds a known name."""
        return next(name_spans(text, self.names), None) is not None

    def is_in(self, content: bytes) -> bool:
        """Whether bytes hold a whole known name or number that is too long to be there by chance."""
        lowered = content.lower()
        return any(needle in lowered for needle in self._needles())

    def is_in_file(self, path: Path) -> bool:
        """Whether a file holds one, however long it is."""
        kept = b""
        with path.open("rb") as stream:
            while piece := stream.read(_STEP):
                if self.is_in(kept + piece):
                    return True
                kept = piece[-512:]
        return False

    def _needles(self) -> Iterator[bytes]:
        for name in (*self.names, self.patient):
            if len(name) >= (_LONG_NUMBER if name.isdigit() else _LONG_ENOUGH):
                for encoding in ("utf-8", "utf-16-le", "latin-1"):
                    yield name.lower().encode(encoding, errors="replace")


def _digest(key: bytes, kind: str, value: str) -> bytes:
    return hmac.new(key, f"{kind}\0{value}".encode(errors="surrogateescape"), hashlib.sha256).digest()
