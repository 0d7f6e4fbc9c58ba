"""The command that this process runs, for the record of what it writes."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_WORDS: ContextVar[tuple[str, ...]] = ContextVar("_WORDS", default=())


@contextmanager
def running(words: Sequence[str]) -> Iterator[None]:
    """Record the words of a command line while it runs."""
    token = _WORDS.set(("polyclinic", *words))
    try:
        yield
    finally:
        _WORDS.reset(token)


def running_words() -> list[str]:
    """Return the words of the running command; those of the script where Polyclinic is used as a library."""
    return list(_WORDS.get() or sys.argv)
