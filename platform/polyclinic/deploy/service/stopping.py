"""A stop that is asked for by SIGTERM or Ctrl-C while the service starts."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes the signals while it is entered; what is running then ends at a place of its choice.

    Python's own answer to Ctrl-C is an exception wherever the program is. In a destructor or in a callback of an import
    it is printed and forgotten; elsewhere it leaves half of what was being started.

    Attributes:
        asked: whether one came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._react: Callable[[], object] | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Once a stop was asked for, another one must not interrupt the end of the process, which tidies up.
        if not self.asked:
            for number, before in self._before.items():
                signal.signal(number, before)  # type: ignore[arg-type]

    def check(self) -> None:
        """Return unless a stop was asked for.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self.asked:
            raise KeyboardInterrupt

    def react(self, react: Callable[[], object]) -> None:
        """Call this from now on when a stop is asked for, and at once if it was."""
        self._react = react
        if self.asked:
            react()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._react is not None:
            self._react()
