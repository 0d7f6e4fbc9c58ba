"""Requests to stop by SIGTERM or Ctrl-C while a server starts or runs."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """A context that records the signals, so that the program can stop at a safe point.

    By default, Python raises an exception wherever the program is. In a destructor or in a callback of an import, the
    exception is printed and ignored; elsewhere it leaves processes half started.

    Args:
        others: further signals to record, except those that this process ignores, as SIGHUP under ``nohup``.

    Attributes:
        asked: whether a signal arrived.
    """

    def __init__(self, *others: signal.Signals) -> None:
        self.asked = False
        self._signals = (*_SIGNALS, *(each for each in others if signal.getsignal(each) is not signal.SIG_IGN))
        self._react: Callable[[], object] | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in self._signals:
            self._before[number] = signal.signal(number, self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a first signal, a second one must not interrupt the cleanup at the end of the process.
        if not self.asked:
            for number, before in self._before.items():
                signal.signal(number, before)  # type: ignore[arg-type]

    def check(self) -> None:
        """Stop here if a signal arrived.

        Raises:
            KeyboardInterrupt: a signal arrived.
        """
        if self.asked:
            raise KeyboardInterrupt

    def react(self, react: Callable[[], object]) -> None:
        """Set the function to call when a signal arrives; it is called at once if one has."""
        self._react = react
        if self.asked:
            react()

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._react is not None:
            self._react()
