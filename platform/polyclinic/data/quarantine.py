"""Quarantine: the broken sources of a run, and the limit on their share."""

from collections.abc import Sequence

from polyclinic.data.batch import BrokenSource

MIN_SOURCES = 100
"""Sources to read before the limit applies."""


class Quarantine:
    """Collects broken sources and stops the run when there are too many.

    Args:
        max_share: largest share of broken sources among those read, in [0, 1].

    Raises:
        ValueError: ``max_share`` is outside [0, 1].
    """

    def __init__(self, *, max_share: float) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f"got max_broken_share {max_share}, expected 0 to 1; set `data.max_broken_share`")
        self._max_share = max_share
        self._seen = 0
        self._broken_reads = 0
        self._reasons: dict[tuple[str, str], str] = {}

    def note(self, *, seen: int, broken: Sequence[BrokenSource]) -> None:
        """Record how many sources were read, and the broken ones among them.

        Raises:
            ValueError: at least 100 sources were read, and the broken share is above the limit.
        """
        self._seen += seen
        self._broken_reads += len(broken)
        self._reasons.update({(entry.study_id, entry.modality): entry.reason for entry in broken})
        if self._seen >= MIN_SOURCES:
            self.refuse_too_many()

    def refuse_too_many(self) -> None:
        """Refuse a broken share above the limit, however few sources were read.

        Raises:
            ValueError: the broken share is above the limit.
        """
        if self.share > self._max_share:
            examples = "; ".join(f"study {study!r}, {name}: {reason}" for study, name, reason in self.entries()[:5])
            raise ValueError(
                f"{self.share:.1%} of the sources read are broken, more than data.max_broken_share = "
                f"{self._max_share:.1%} allows ({examples}); repair them, or raise `data.max_broken_share`"
            )

    @property
    def share(self) -> float:
        """Share of the sources read that were broken."""
        return self._broken_reads / max(self._seen, 1)

    def entries(self) -> list[BrokenSource]:
        """List every broken source once, by study."""
        return [BrokenSource(study, name, reason) for (study, name), reason in sorted(self._reasons.items())]
