"""What a process that decodes hostile files may use, and what it may say."""

import logging
import os
import resource
import signal
import warnings

_FILES = 64


def ignore_signals() -> None:
    """Ctrl-C and a service manager's SIGTERM reach every process of the group; only the first one decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def quieten() -> None:
    """Warnings of decoders, and what C libraries print, may hold what a header holds: a patient."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def confine(*, memory: int, largest: int) -> None:
    """Limit this process.

    Args:
        memory: bytes that it may map beyond what it shares with the others.
        largest: bytes of a file that it writes.
    """
    _lower(resource.RLIMIT_AS, _mapped() + memory)
    _lower(resource.RLIMIT_FSIZE, largest)
    _lower(resource.RLIMIT_NOFILE, _FILES)
    _lower(resource.RLIMIT_CORE, 0)


def allow_seconds(seconds: int) -> None:
    """Let this process compute for so long from now on; then it is ended by SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    lowered = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (lowered, lowered))


def _mapped() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - read once, no path to build
        return int(stream.read().split()[0]) * resource.getpagesize()
