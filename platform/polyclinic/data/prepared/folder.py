"""The shards of one folder: which of them hold what is wanted, and are whole."""

import warnings
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polyclinic.data.prepared.identity import environment
from polyclinic.data.prepared.shard import NO_SHARD, SUFFIX, Shard, is_whole

_VERIFIERS = 4
_DAMAGED = ".damaged"

Found = dict[bytes, tuple[Path, int]]
"""By content, the shard and the row that hold it."""


class ShardFolder:
    """Finds rows by content, in shards whose checksum was verified once by this object.

    Args:
        path: the folder; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole: set[Path] = set()
        self._damaged: set[Path] = set()

    def find(self, wanted: Set[bytes]) -> Found:
        """Where each content is; one that no whole shard holds is left out.

        A damaged shard is told in a warning and set aside, and what it held is no longer found.
        """
        while True:
            found = self._look(wanted)
            unverified = sorted({path for path, _ in found.values()} - self._whole)
            with ThreadPoolExecutor(_VERIFIERS) as pool:
                whole = dict(zip(unverified, pool.map(is_whole, unverified), strict=True))
            self._whole |= {path for path, holds in whole.items() if holds}
            damaged = [path for path, holds in whole.items() if not holds]
            for path in damaged:
                self._set_aside(path)
            if not damaged:
                return found

    def _look(self, wanted: Set[bytes]) -> Found:
        """An item before a reason, and no reason of another environment."""
        items: Found = {}
        reasons: Found = {}
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            if path in self._damaged:
                continue
            try:
                shard = Shard(path)
            except FileNotFoundError:
                continue
            except NO_SHARD:
                self._set_aside(path)
                continue
            current = shard.environment == environment()
            for row, content in enumerate(shard.contents):
                if content in wanted and row not in shard.reasons:
                    items.setdefault(content, (path, row))
                elif content in wanted and current:
                    reasons.setdefault(content, (path, row))
        return reasons | items

    def _set_aside(self, path: Path) -> None:
        self._damaged.add(path)
        try:
            path.rename(path.with_suffix(_DAMAGED))
        except FileNotFoundError:
            return
        except OSError:
            pass
        warnings.warn(
            f"a shard of `data.prepared` is damaged (`{self.path.name}`, {path.stem[:8]}); it is not read, and what it "
            "held is prepared anew or read from the files",
            stacklevel=2,
        )
