"""Broken sources met by a run: counted, listed, and a limit to them."""

from collections.abc import Sequence

from polyclinic.data.batch import BrokenSource

_ENOUGH = 100


class Quarantine:
    """Collects broken sources and stops the run when they become too many.

    Args:
        max_share: of the sources read that may be broken, in [0, 1].

    Raises:
        ValueError: ``max_share`` outside [0, 1].
    """

    def __init__(self, *, max_share: float) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f"got max_broken_share {max_share}, expected 0 to 1; set `data.max_broken_share`")
        self._max_share = max_share
        self._seen = 0
        self._times = 0
        self._reasons: dict[tuple[str, str], str] = {}

    def note(self, *, seen: int, broken: Sequence[BrokenSource]) -> None:
        """Record sources read, and which of them were broken.

        Raises:
            ValueError: the broken share of at least 100 sources is above the limit.
        """
        self._seen += seen
        self._times += len(broken)
        self._reasons.update({(entry.study_id, entry.modality): entry.reason for entry in broken})
        if self._seen >= _ENOUGH:
            self.refuse_too_many()

    def refuse_too_many(self) -> None:
        """Stop when the broken share is above the limit, however few sources were read.

        Raises:
            ValueError: it is.
        """
        if self.share > self._max_share:
            named = "; ".join(f"study {study!r}, {name}: {reason}" for study, name, reason in self.entries()[:5])
            raise ValueError(
                f"{self.share:.1%} of the sources read are broken, more than data.max_broken_share = "
                f"{self._max_share:.1%} allows ({named}); repair them, or raise `data.max_broken_share`"
            )

    @property
    def share(self) -> float:
        """Share of the sources read that were broken."""
        return self._times / max(self._seen, 1)

    def entries(self) -> list[BrokenSource]:
        """Every broken source once, by study."""
        return [BrokenSource(study, name, reason) for (study, name), reason in sorted(self._reasons.items())]
