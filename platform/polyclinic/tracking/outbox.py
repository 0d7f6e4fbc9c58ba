"""Hands what a run tells to MLflow in a thread of its own, so that no training step waits for it."""

import atexit
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Event, Thread, current_thread

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from polyclinic.tracking.entries import Entry, Metrics, joined
from polyclinic.tracking.spool import Spool
from polyclinic.tracking.uri import without_password

_GATHER_SECONDS = 1.0
_SAMPLE_SECONDS = 10.0
_LONGEST_PAUSE = 30.0
_HURRIED_PAUSE = 0.25
_EXIT_SECONDS = 5.0
_MOST_WAITING = 100_000
_REFUSALS = {
    "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST", "MALFORMED_REQUEST",
    "PERMISSION_DENIED", "FEATURE_DISABLED",
}  # fmt: skip
"""What no second try would change; anything else may be a server that is away or a database that is locked."""

_log = logging.getLogger(__name__)


class Outbox:
    """The entries of one run on their way.

    They are gathered for a second and sent together. When MLflow does not take them they go to a file in the run's
    folder, and the thread tries again after 1, 2, 4 and at most 30 seconds. What is still there at the end stays in
    that file, for the next start.

    Args:
        client: of MLflow.
        run_id: of the run.
        address: of MLflow, without a password.
        folder: of the run, for the file; made when it is needed.
        errands: done first, in the thread; one that fails is left out.
        sample: asked for further metrics every ten seconds and at the end; absent where there are none.
        fresh: gives the part of a resumed run's metrics that it does not hold already; absent for a new run.
    """

    def __init__(
        self,
        *,
        client: MlflowClient,
        run_id: str,
        address: str,
        folder: Path,
        errands: Sequence[Callable[[], None]] = (),
        sample: Callable[[], Metrics] | None = None,
        fresh: Callable[[Metrics], Metrics] | None = None,
    ) -> None:
        self._client, self._run_id, self._address, self._folder = client, run_id, address, folder
        self._spool = Spool.new(folder)
        self._errands, self._sample, self._fresh = deque(errands), sample, fresh
        self._waiting: deque[Entry] = deque()
        self._sending: deque[Entry] = deque()
        self._changed, self._hurry = Condition(), Event()
        self._thread: Thread | None = None
        self._deadline: float | None = None
        self._failures, self._retry_at, self._sample_at = 0, 0.0, time.monotonic() + _SAMPLE_SECONDS

    def put(self, entry: Entry) -> None:
        """Take an entry; returns at once."""
        with self._changed:
            self._waiting.append(entry)
            full = len(self._waiting) >= _MOST_WAITING
            self._changed.notify_all()
        if self._thread is None:
            self._thread = Thread(target=self._work, name="polyclinic-tracking", daemon=True)
            self._thread.start()
            atexit.register(self._close_at_exit)
        if full:
            self._keep()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is with MLflow; False when that takes longer."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._hurry.set()
            self._changed.notify_all()
            while self._left() and (rest := deadline - time.monotonic()) > 0:
                self._changed.wait(min(rest, _GATHER_SECONDS))
            self._hurry.clear()
            return not self._left()

    def secure(self, seconds: float) -> None:
        """Have everything with MLflow or, where it does not take it within so many seconds, in the file."""
        if self._failures or not self.flush(seconds):
            self._keep()

    def close(self, seconds: float) -> bool:
        """Send what is left and stop; what is left after so many seconds is kept in the file, and False returned."""
        if (thread := self._thread) is None:
            return not self._left()
        atexit.unregister(self._close_at_exit)
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._hurry.set()
            self._changed.notify_all()
        thread.join(seconds)
        with self._changed:
            # A request that hangs changes nothing from here on: its thread is no longer this outbox's.
            self._thread, self._deadline = None, None
            self._hurry.clear()
        self._keep()
        arrived = not self._left()
        self._spool.release()
        self._spool = Spool.new(self._folder)
        return arrived

    def _close_at_exit(self) -> None:
        """For whoever forgets to end the run: what was logged arrives, and the run stays as it is."""
        self.close(_EXIT_SECONDS)

    def _left(self) -> bool:
        return bool(self._errands or self._waiting or self._sending or self._spool.exists())

    def _is_mine(self) -> bool:
        return self._thread is current_thread()

    def _work(self) -> None:
        while self._errands:
            self._attempt(self._errands[0])
            self._errands.popleft()
        while self._is_mine():
            self._sleep()
            self._add_sample()
            if time.monotonic() >= self._retry_at or self._hurry.is_set():
                self._deliver()
            else:
                self._keep()
            if self._deadline is not None and (not self._left() or time.monotonic() >= self._deadline):
                return

    def _sleep(self) -> None:
        """Wait for something to do, then a little longer, so that it goes in one request, unless somebody waits."""
        wake = self._sample_at if self._sample is not None else math.inf
        wake = min(wake, self._retry_at) if self._failures else wake
        timeout = min(max(wake - time.monotonic(), 0), _LONGEST_PAUSE)
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._hurry.is_set(), timeout=timeout)
        if self._hurry.wait(_GATHER_SECONDS) and self._failures:
            time.sleep(_HURRIED_PAUSE)

    def _add_sample(self) -> None:
        ending = self._deadline is not None
        if self._sample is not None and (ending or time.monotonic() >= self._sample_at):
            self._sample_at = time.monotonic() + _SAMPLE_SECONDS
            sample, self._sample = self._sample, None if ending else self._sample
            self._attempt(lambda: self._waiting.appendleft(sample()))

    def _deliver(self) -> None:
        """Send what waits in the file and then what waits in memory; on failure keep all of it in the file."""
        try:
            self._spool.drain(self._send)
            while self._is_mine() and self._take():
                while self._is_mine() and self._sending:
                    self._send(self._sending[0])
                    self._sending.popleft()
        except Exception as error:  # whatever it is, a thread that died of it would lose everything behind it
            if self._is_mine():
                self._postpone(error)
        else:
            if self._failures:
                _log.warning("MLflow answers again; what waited has arrived")
            self._failures = 0
        with self._changed:
            self._changed.notify_all()

    def _take(self) -> bool:
        """Move what waits into fewer, larger entries; False when nothing does."""
        with self._changed:
            self._sending.extend(joined(self._waiting))
            self._waiting.clear()
        return bool(self._sending)

    def _send(self, entry: Entry) -> None:
        if isinstance(entry, Metrics) and self._fresh is not None:
            entry = self._fresh(entry)
        deliver(entry, self._client, self._run_id)

    def _postpone(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + min(2.0**self._failures, _LONGEST_PAUSE)
        self._failures += 1
        if self._failures == 1:
            _log.warning(
                "MLflow at %s does not take what is logged (%s); training goes on, and what is logged meanwhile waits "
                "in the run's folder",
                self._address,
                cause(error),
            )
        self._keep()

    def _keep(self) -> None:
        """Move everything into the file; while that cannot be written, memory has to do."""
        with self._changed:
            owns_sending = self._thread is None or self._is_mine()
            entries = [*(self._sending if owns_sending else ()), *self._waiting]
            try:
                self._spool.append(joined(entries), address=self._address, run_id=self._run_id)
            except OSError as error:
                if len(self._waiting) < _MOST_WAITING:
                    return
                _log.warning("%d logged entries are lost: the run's folder cannot be written (%s)", len(entries), error)
            self._waiting.clear()
            if owns_sending:
                self._sending.clear()

    def _attempt(self, errand: Callable[[], None]) -> None:
        try:
            errand()
        except Exception as error:  # an errand is a courtesy to other runs
            _log.debug("an errand of the tracking failed (%s)", cause(error))


def deliver(entry: Entry, client: MlflowClient, run_id: str) -> None:
    """Send an entry; one that MLflow would refuse every time is told and given up.

    Raises:
        Exception: MLflow is away, or its database is locked.
    """
    try:
        entry.send(client, run_id)
    except MlflowException as error:
        if error.error_code not in _REFUSALS:
            raise
        _log.warning("MLflow refuses %s for good (%s); they are lost", type(entry).__name__.lower(), cause(error))


def cause(error: BaseException) -> str:
    """What an error says, in one line without passwords."""
    return " ".join(without_password(str(error)).split())
