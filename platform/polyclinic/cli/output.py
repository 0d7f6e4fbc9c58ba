"""Options of every command that set what the terminal shows: ``--quiet`` and ``--log-level``."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from polyclinic.system.names import refuse_unknown
from polyclinic.system.terminal import printable, quiet

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_OWN_CODE = str(Path(__file__).parents[1])
_NO_BARS = "TQDM_DISABLE"
_NOT_ACTIONABLE = (
    "isinstance.treespec, LeafSpec. is deprecated",
    ".*does not have many workers",
    "The number of training batches .* is smaller than the logging interval",
    ".*weights_only.* was not set",
    "Found .* module.* in eval mode",  # frozen encoders
    "You're using the WeightAveraging callback with a model that overrides",  # it changes before training alone
)
"""Warnings of libraries on their own code, or on what Polyclinic chose."""


class OutputOptions(NamedTuple):
    """What the terminal shows.

    Attributes:
        quiet: whether it shows results and errors alone.
        level: lowest level of the log; None for remarks of Polyclinic and warnings of libraries.
    """

    quiet: bool = False
    level: int | None = None


def take_output_options(words: Sequence[str]) -> tuple[list[str], OutputOptions]:
    """Return a command line without ``--quiet`` and ``--log-level``, and what they set.

    Raises:
        ValueError: an option is given twice, or the level is missing or unknown.
    """
    rest: list[str] = []
    given: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        option = name.replace("_", "-")
        if option not in ("--quiet", "--log-level") or (option == "--quiet" and equals):
            rest.append(word)
            continue
        if option in given:
            raise ValueError(f"got option {option} twice, expected it once; remove one of the two")
        if option == "--log-level" and not equals:
            value = left.pop(0) if left else ""
        given[option] = value
    level = given.get("--log-level")
    if level is not None:
        refuse_unknown("log level", [level.lower()], LEVELS, "set `--log-level`")
    return rest, OutputOptions("--quiet" in given, None if level is None else LEVELS[level.lower()])


@contextmanager
def shown(options: OutputOptions) -> Iterator[None]:
    """Print remarks, warnings and log lines within the block as the options say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    handler.addFilter(_Limit(options))
    levels = {"": options.level or logging.WARNING, "polyclinic": options.level or logging.INFO}
    with ExitStack() as stack:
        stack.enter_context(quiet(options.quiet))
        stack.enter_context(warnings.catch_warnings())
        _choose_warnings(options)
        for logger, level in ((logging.getLogger(name), level) for name, level in levels.items()):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(level)
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        if options.quiet or not sys.stderr.isatty():
            stack.enter_context(_without_bars())
        yield


@contextmanager
def limited_libraries(options: OutputOptions) -> Iterator[None]:
    """Apply the options to the libraries that a command has imported, which bring handlers and formats."""
    names = [name for name in logging.root.manager.loggerDict if not name.startswith("polyclinic")]
    with ExitStack() as stack:
        for logger in map(logging.getLogger, names):
            # The handler of the root prints what reaches it.
            limit = logging.Filter("none") if _reaches_root(logger) else _Limit(options)
            for handler in filter(_is_terminal, logger.handlers):
                handler.addFilter(limit)
                stack.callback(handler.removeFilter, limit)
        stack.callback(setattr, warnings, "formatwarning", warnings.formatwarning)
        warnings.formatwarning = lambda message, *_, **__: f"warning: {printable(str(message))}\n"
        yield


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide the bars of libraries, which read this variable when tqdm is imported."""
    before = os.environ.get(_NO_BARS)
    os.environ[_NO_BARS] = "1"
    try:
        yield
    finally:
        os.environ.pop(_NO_BARS)
        if before is not None:
            os.environ[_NO_BARS] = before


class _Limit(logging.Filter):
    """Filter of a terminal: remarks of Polyclinic, and warnings of libraries, unless a level is set."""

    def __init__(self, options: OutputOptions) -> None:
        super().__init__()
        self._own = options.level or (logging.ERROR if options.quiet else logging.INFO)
        self._others = options.level or (logging.ERROR if options.quiet else logging.WARNING)

    def filter(self, record: logging.LogRecord) -> bool:
        # Lightning logs what its callers report, with the file of the caller.
        is_own = record.name.startswith("polyclinic") or record.pathname.startswith(_OWN_CODE)
        return record.levelno >= (self._own if is_own else self._others)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{level}{printable(record.getMessage())}"


def _reaches_root(logger: logging.Logger) -> bool:
    while logger.parent is not None and logger.propagate:
        logger = logger.parent
    return logger.parent is None


def _is_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)


def _choose_warnings(options: OutputOptions) -> None:
    """Ignore warnings on which a user cannot act; all of them with ``--quiet``, and none with ``--log-level debug``."""
    if options.quiet or (options.level or 0) > logging.WARNING:
        warnings.simplefilter("ignore")
    elif options.level != logging.DEBUG:
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(?!polyclinic)")
        for message in _NOT_ACTIONABLE:
            warnings.filterwarnings("ignore", message)
