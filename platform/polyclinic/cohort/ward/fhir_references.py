"""References between FHIR resources of a folder."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")
_VERSION = re.compile(r"/_history/[^/]+$")


class References(Generic[T]):
    """What resources stand for, by their URL and by ``Type/id``.

    A bundle is searched before the folder, as two servers may give one id to two resources.
    """

    def __init__(self) -> None:
        self._in_bundle: dict[tuple[int, str], set[T]] = defaultdict(set)
        self._anywhere: dict[str, set[T]] = defaultdict(set)

    def add(self, names: Iterable[str], bundle: int | None, content: T) -> None:
        """Add a resource under the names that are not empty."""
        for name in filter(None, names):
            self._anywhere[name].add(content)
            if bundle is not None:
                self._in_bundle[bundle, name].add(content)

    def found(self, reference: str, bundle: int | None) -> set[T]:
        """Return what a reference leads to: nothing, one, or several that it does not tell apart."""
        name = _VERSION.sub("", reference)
        near = self._in_bundle.get((bundle, name), set()) if bundle is not None else set()
        return near or self._anywhere.get(name, set())
