"""Worker processes that read, write and de-identify studies."""

import multiprocessing
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext


def worker_context(plugins: Iterable[object] = ()) -> ForkServerContext:
    """Return a fork-server context whose server has already imported the plugins' libraries.

    Importing torch and the decoders takes seconds of a core, which each spawned process would repeat. The fork server
    computes nothing: a fork of this process might inherit a locked OpenMP pool from torch.

    Args:
        plugins: objects that are sent to the workers.
    """
    # Starting the tracker unblocks SIGINT, so start it before a caller blocks that signal.
    resource_tracker.ensure_running()
    context = multiprocessing.get_context("forkserver")
    modules = {type(plugin).__module__ for plugin in plugins} - {"__main__"}
    context.set_forkserver_preload([__name__, *sorted(modules & set(sys.modules))])
    return context


def worker_pool(workers: int, plugins: Iterable[object] = ()) -> ProcessPoolExecutor:
    """Return a pool of worker processes that create files with this process's umask.

    Args:
        workers: number of processes.
        plugins: objects that are sent to the workers.
    """
    # The fork server may have started before the umask was set, so pass it on; os.umask can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    context = worker_context(plugins)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=os.umask, initargs=(mask,))
