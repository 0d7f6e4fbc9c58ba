"""Where the processes come from that read, write and clean studies."""

import multiprocessing
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.context import ForkServerContext


def worker_context(plugins: Iterable[object] = ()) -> ForkServerContext:
    """A context whose processes are forked from one that has imported the libraries of the plugins already.

    Importing torch and the decoders takes seconds of a core, which each spawned process would pay again. The process
    that is forked computes nothing: a fork of this one might inherit a locked OpenMP pool from torch.

    Args:
        plugins: objects that are sent to the processes.
    """
    # It lets the interruption of a terminal through where it is started, so that it has to be there before a caller
    # holds that back.
    resource_tracker.ensure_running()
    context = multiprocessing.get_context("forkserver")
    modules = {type(plugin).__module__ for plugin in plugins} - {"__main__"}
    context.set_forkserver_preload([__name__, *sorted(modules & set(sys.modules))])
    return context


def worker_pool(workers: int, plugins: Iterable[object] = ()) -> ProcessPoolExecutor:
    """A pool of such processes; the files that they make have the permissions that this process gives its own.

    Args:
        workers: number of processes.
        plugins: objects that are sent to the processes.
    """
    # The process that they are forked from may be older than the mask.
    mask = os.umask(0o077)
    os.umask(mask)
    context = worker_context(plugins)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=os.umask, initargs=(mask,))
