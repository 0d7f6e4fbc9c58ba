"""What a person should know of a source before a model is trained on it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Something about a readable source that a person should know before training on it.

    Attributes:
        severity: ``error`` where results would be wrong, ``warning`` where they may be or where a patient may be named,
            ``note`` for what is only told.
        code: of what kind, in words joined by hyphens such as ``flat-lead``.
        said: one sentence; what it quotes never names a patient nor a place.
        tolerated: share of the readable sources that may have this as a mere note.
    """

    severity: Severity
    code: str
    said: str
    tolerated: float = 0.0
