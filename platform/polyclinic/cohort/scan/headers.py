"""Inspect the files of a folder, with worker processes where they save time."""

from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from time import perf_counter

from polyclinic.cohort.scan.recognise import FileFacts, inspect_file
from polyclinic.cohort.scan.walk import Entry
from polyclinic.modality import Modality
from polyclinic.system.processes import worker_pool
from polyclinic.system.progress import track

SAMPLE_SIZE = 200
WORTH_SECONDS = 15.0
"""Time of one process from which on workers are started: each fork server imports torch and all plugins first."""

_CHUNK_SIZE = 64


def inspect_files(
    entries: Sequence[Entry], root: Path, modalities: Mapping[str, Modality], workers: int
) -> list[FileFacts]:
    """Inspect files in the order of their paths, with worker processes if a sample shows that they save time.

    Raises:
        ValueError: a worker process ended.
    """
    work = partial(inspect_file, folder=root, modalities=modalities)
    step = max(1, len(entries) // SAMPLE_SIZE)
    start = perf_counter()
    facts = [work(entry) for entry in track(entries[::step], description="reading a sample of headers")]
    rest = [entry for place, entry in enumerate(entries) if place % step]
    remaining = (perf_counter() - start) / max(1, len(facts)) * len(rest)
    if workers <= 1 or remaining < WORTH_SECONDS:
        facts += [work(entry) for entry in track(rest, description="reading headers")]
    else:
        try:
            with worker_pool(workers, modalities.values()) as pool:
                results = pool.map(work, rest, chunksize=_CHUNK_SIZE)
                facts += track(results, description="reading headers", total=len(rest))
        except BrokenProcessPool:
            raise ValueError(
                "a worker process ended, as it does when memory runs out or a decoder crashes on a file; free memory, "
                "or scan the subfolders one by one to find the file"
            ) from None
    return sorted(facts, key=lambda each: each.path)
