"""Background delivery of a run's entries to MLflow, so that no training step waits for it."""

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

_BATCH_SECONDS = 1.0
_SAMPLE_SECONDS = 10.0
_MAX_PAUSE = 30.0
_URGENT_PAUSE = 0.25
_EXIT_TIMEOUT = 5.0
_MAX_WAITING = 100_000
_PERMANENT_ERRORS = {
    "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST", "MALFORMED_REQUEST",
    "PERMISSION_DENIED", "FEATURE_DISABLED",
}  # fmt: skip
"""MLflow error codes that a retry cannot change; others may mean an absent server or a locked database."""

_log = logging.getLogger(__name__)


class Outbox:
    """Queue of one run's entries, sent by a background thread.

    Entries are collected for a second and sent together. If MLflow does not accept them, they move to a file in the
    run's folder, and the thread retries after 1, 2, 4 and at most 30 seconds. Entries that are unsent at the end stay
    in the file for the next start.

    Args:
        client: MLflow client.
        run_id: id of the run.
        address: address of MLflow, without a password.
        folder: folder of the run for the file, created on demand.
        errands: functions that the thread calls first; one that fails is skipped.
        sample: source of further metrics, called every ten seconds and at the end; optional.
        fresh: filter that drops metrics which a resumed run already has; None for a new run.
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
        self._changed, self._urgent = Condition(), Event()
        self._thread: Thread | None = None
        self._deadline: float | None = None
        self._failures, self._retry_at, self._sample_at = 0, 0.0, time.monotonic() + _SAMPLE_SECONDS

    def put(self, entry: Entry) -> None:
        """Queue an entry, and return immediately."""
        with self._changed:
            self._waiting.append(entry)
            full = len(self._waiting) >= _MAX_WAITING
            self._changed.notify_all()
        if self._thread is None:
            self._thread = Thread(target=self._work, name="polyclinic-tracking", daemon=True)
            self._thread.start()
            atexit.register(self._close_at_exit)
        if full:
            self._spill()

    def flush(self, seconds: float) -> bool:
        """Wait until MLflow has all entries; return False after a timeout in seconds."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._urgent.set()
            self._changed.notify_all()
            while self._has_unsent() and (rest := deadline - time.monotonic()) > 0:
                self._changed.wait(min(rest, _BATCH_SECONDS))
            self._urgent.clear()
            return not self._has_unsent()

    def secure(self, seconds: float) -> None:
        """Send all entries; those that MLflow does not accept within the timeout in seconds go to the file."""
        if self._failures or not self.flush(seconds):
            self._spill()

    def close(self, seconds: float) -> bool:
        """Send all entries and stop; after a timeout in seconds, move the rest to the file and return False."""
        if (thread := self._thread) is None:
            return not self._has_unsent()
        atexit.unregister(self._close_at_exit)
        with self._changed:
            self._deadline = time.monotonic() + seconds
            self._urgent.set()
            self._changed.notify_all()
        thread.join(seconds)
        with self._changed:
            # Disown the thread: if its request hangs, it must not change this outbox later.
            self._thread, self._deadline = None, None
            self._urgent.clear()
        self._spill()
        arrived = not self._has_unsent()
        self._spool.release()
        self._spool = Spool.new(self._folder)
        return arrived

    def _close_at_exit(self) -> None:
        """Send the entries of a run that was not finalized; its status stays unchanged."""
        self.close(_EXIT_TIMEOUT)

    def _has_unsent(self) -> bool:
        return bool(self._errands or self._waiting or self._sending or self._spool.exists())

    def _is_worker(self) -> bool:
        return self._thread is current_thread()

    def _work(self) -> None:
        while self._errands:
            self._attempt(self._errands[0])
            self._errands.popleft()
        while self._is_worker():
            self._sleep()
            self._add_sample()
            if time.monotonic() >= self._retry_at or self._urgent.is_set():
                self._deliver()
            else:
                self._spill()
            if self._deadline is not None and (not self._has_unsent() or time.monotonic() >= self._deadline):
                return

    def _sleep(self) -> None:
        """Wait for entries, then a little longer to batch them into one request, unless a caller is waiting."""
        wake = self._sample_at if self._sample is not None else math.inf
        wake = min(wake, self._retry_at) if self._failures else wake
        timeout = min(max(wake - time.monotonic(), 0), _MAX_PAUSE)
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._urgent.is_set(), timeout=timeout)
        if self._urgent.wait(_BATCH_SECONDS) and self._failures:
            time.sleep(_URGENT_PAUSE)

    def _add_sample(self) -> None:
        ending = self._deadline is not None
        if self._sample is not None and (ending or time.monotonic() >= self._sample_at):
            self._sample_at = time.monotonic() + _SAMPLE_SECONDS
            sample, self._sample = self._sample, None if ending else self._sample
            self._attempt(lambda: self._waiting.appendleft(sample()))

    def _deliver(self) -> None:
        """Send the entries in the file, then those in memory; after a failure, move all of them to the file."""
        try:
            self._spool.drain(self._send)
            while self._is_worker() and self._take():
                while self._is_worker() and self._sending:
                    self._send(self._sending[0])
                    self._sending.popleft()
        except Exception as error:  # any error: if the thread died, all later entries would be lost
            if self._is_worker():
                self._postpone(error)
        else:
            if self._failures:
                _log.warning("MLflow answers again; all waiting entries have arrived")
            self._failures = 0
        with self._changed:
            self._changed.notify_all()

    def _take(self) -> bool:
        """Merge the waiting entries for sending; return False if there are none."""
        with self._changed:
            self._sending.extend(joined(self._waiting))
            self._waiting.clear()
        return bool(self._sending)

    def _send(self, entry: Entry) -> None:
        if isinstance(entry, Metrics) and self._fresh is not None:
            entry = self._fresh(entry)
        deliver(entry, self._client, self._run_id)

    def _postpone(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + min(2.0**self._failures, _MAX_PAUSE)
        self._failures += 1
        if self._failures == 1:
            _log.warning(
                "MLflow at %s does not accept entries (%s); training continues, and they wait in the run's folder",
                self._address,
                cause(error),
            )
        self._spill()

    def _spill(self) -> None:
        """Move all entries to the file; if it cannot be written, keep them in memory up to a limit."""
        with self._changed:
            owns_sending = self._thread is None or self._is_worker()
            entries = [*(self._sending if owns_sending else ()), *self._waiting]
            try:
                self._spool.append(joined(entries), address=self._address, run_id=self._run_id)
            except OSError as error:
                if len(self._waiting) < _MAX_WAITING:
                    return
                _log.warning("%d logged entries are lost: the run's folder cannot be written (%s)", len(entries), error)
            self._waiting.clear()
            if owns_sending:
                self._sending.clear()

    def _attempt(self, errand: Callable[[], None]) -> None:
        try:
            errand()
        except Exception as error:  # errands serve other runs, so they must not fail this one
            _log.debug("an errand of the tracking failed (%s)", cause(error))


def deliver(entry: Entry, client: MlflowClient, run_id: str) -> None:
    """Send an entry; one that MLflow refuses permanently is logged and dropped.

    Raises:
        Exception: MLflow is away, or its database is locked.
    """
    try:
        entry.send(client, run_id)
    except MlflowException as error:
        if error.error_code not in _PERMANENT_ERRORS:
            raise
        _log.warning("MLflow refuses %s permanently (%s); they are lost", type(entry).__name__.lower(), cause(error))


def cause(error: BaseException) -> str:
    """Return the message of an error in one line, without passwords."""
    return " ".join(without_password(str(error)).split())
