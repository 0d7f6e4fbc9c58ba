"""Speed and memory of prepared items in memory-mapped shards, compared with decoding and MONAI's PersistentDataset.

Every rate is that of complete batches through ``StudyDataset`` and the plugin's ``collate``, in one process, with the
files in the page cache. Memory is the proportional set size, in which two processes that map a page count half of it
each. It includes the interpreter and its libraries, so the ratio depends on the size of the cache written here.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from monai.data import PersistentDataset
from monai.transforms import Transform

from benchmarks.measure import Figure
from polyclinic.cohort import Study
from polyclinic.data import StudyDataset, collate
from polyclinic.data.cache import prepare_modality
from polyclinic.data.cache.shard import is_intact, write_shard
from polyclinic.modality import Item, Modality, installed_modalities
from polyclinic.modality.physiology import Patient

HEIGHT, WIDTH, BITS = 2500, 2000, 16
STUDIES = {"xray": 64, "ecg": 128}
BATCH, EPOCHS = 32, 5
SHARDS, ROWS, SHAPE = 80, 256, (1, 224, 224)
RANK = """
import sys
from pathlib import Path
from polyclinic.data.cache import PreparedModality

shards, rows = sorted(Path(sys.argv[1]).glob("*.arrow")), range(int(sys.argv[2]))
stored = PreparedModality(shards, {f"{shard} {row}": (shard, row) for shard in range(len(shards)) for row in rows})
places = stored.places([f"{shard} {row}" for shard in range(len(shards)) for row in rows])
print("ready", flush=True)
sys.stdin.readline()
assert sum(abs(float(stored.item(place)["image"].sum())) for place in places.tolist()) > 0
print("ready", flush=True)
sys.stdin.readline()
"""
COMMAND = "python -m benchmarks cache"


def measure() -> list[Figure]:
    """Write and prepare phantoms, time both ways of reading, then map a larger cache from one and two processes."""
    torch.set_num_threads(1)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures += _speed("xray", _radiographs(folder), folder)
        figures += _speed("ecg", _electrocardiograms(folder), folder)
        figures += _shared(folder / "large")
    return figures


def _radiographs(folder: Path) -> list[Path]:
    """Write uncompressed phantoms with the size and bit depth of a detector."""
    paths = _phantoms("xray", folder)
    rng = np.random.default_rng(0)
    for path in paths:
        dataset = pydicom.dcmread(path)
        small = dataset.pixel_array.astype(np.float64) / (2**dataset.BitsStored - 1)
        rows, columns = np.arange(HEIGHT) * small.shape[0] // HEIGHT, np.arange(WIDTH) * small.shape[1] // WIDTH
        large = small[rows][:, columns] * 0.98 + rng.random((HEIGHT, WIDTH)) * 0.02
        dataset.Rows, dataset.Columns = HEIGHT, WIDTH
        dataset.BitsStored, dataset.HighBit = BITS, BITS - 1
        if "WindowCenter" in dataset:
            dataset.WindowCenter, dataset.WindowWidth = 2**BITS // 2, 2**BITS
        dataset.PixelData = np.round(large * (2**BITS - 1)).astype(np.uint16).tobytes()
        dataset.save_as(path)
    return paths


def _electrocardiograms(folder: Path) -> list[Path]:
    paths = _phantoms("ecg", folder)
    header = paths[0].read_text().splitlines()[0].split()
    if (header[1], float(header[2]), int(header[3])) != ("12", 500.0, 5000):
        raise RuntimeError(f"got a phantom of {header[1:4]}, expected 12 leads, 500 Hz and 5000 samples")
    return paths


def _phantoms(name: str, folder: Path) -> list[Path]:
    plugin = installed_modalities()[name]()
    paths = []
    for seed in range(STUDIES[name]):
        patient = Patient(np.random.default_rng(seed)).visit(np.random.default_rng(seed))
        paths.append(plugin.phantom(patient, np.random.default_rng(seed), folder / f"{name}{seed}"))
    return paths


def _speed(name: str, paths: Sequence[Path], folder: Path) -> list[Figure]:
    modality = installed_modalities()[name]()
    studies = [
        Study(study_id=str(place), patient_id=str(place), split="train", sources={name: path}, labels=(), groups={})
        for place, path in enumerate(paths)
    ]
    stored = prepare_modality(folder / "prepared", name=name, modality=modality, studies=studies, workers=0)
    decoding, cached = (
        StudyDataset(studies=studies, modalities={name: modality}, prepared=prepared, augment=False, seed=0)
        for prepared in ({}, {name: stored})
    )
    slow = _rate(lambda index: decoding[0, index, 0], lambda some: collate(some, {name: modality}), len(paths), 1)
    fast = _rate(lambda index: cached[0, index, 0], lambda some: collate(some, {name: modality}), len(paths), EPOCHS)
    theirs = PersistentDataset([str(path) for path in paths], _Prepare(modality), folder / f"persistent {name}")
    persistent = _rate(lambda index: theirs[index], modality.collate, len(paths), EPOCHS)
    figures = [
        Figure(name=f"cache.speedup_{name}", value=fast / slow, unit="x", goal=20, command=COMMAND),
        Figure(name=f"cache.{name}_studies_per_second", value=fast, unit="studies/s", command=COMMAND),
    ]
    if name == "xray":
        ratio = fast / persistent
        figures.append(Figure(name="cache.ratio_vs_persistent_dataset", value=ratio, unit="x", goal=1, command=COMMAND))
    return figures


class _Prepare(Transform):
    """A deterministic transform from a source to the item that the cache stores."""

    def __init__(self, modality: Modality) -> None:
        self._modality = modality

    def __call__(self, path: str) -> Item:
        """Decode and prepare a source."""
        return self._modality.prepare(self._modality.read(Path(path)))


def _rate(get: Callable[[int], Any], join: Callable[[list], Any], count: int, epochs: int) -> float:
    """Return the studies per second over full epochs, after a first epoch that fills caches and loads libraries."""
    for _ in range(2):
        started = time.perf_counter()
        for _ in range(epochs):
            for start in range(0, count, BATCH):
                join([get(index) for index in range(start, min(start + BATCH, count))])
        seconds = time.perf_counter() - started
    return count * epochs / seconds


def _shared(folder: Path) -> list[Figure]:
    folder.mkdir()
    images = [torch.randn(SHAPE) for _ in range(ROWS)]
    shards = [
        write_shard(
            folder, [(f"{shard:16}{row:16}".encode(), {"image": image}) for row, image in enumerate(images)], ""
        )
        for shard in range(SHARDS)
    ]
    started = time.perf_counter()
    if not all(is_intact(path) for path in shards):
        raise RuntimeError("a shard does not hold what was written")
    size = sum(path.stat().st_size for path in shards) / 1e9
    verifying = (time.perf_counter() - started) / size
    (base, one), (bases, two) = (_memory(folder, processes) for processes in (1, 2))
    ratio, growth = two / one, (two - bases) / (one - base)
    return [
        Figure(name="cache.two_rank_memory_ratio", value=ratio, unit="x", goal=1.2, at_most=True, command=COMMAND),
        Figure(name="cache.two_rank_growth_ratio", value=growth, unit="x", command=COMMAND),
        Figure(name="cache.one_rank_memory_gb", value=one / 1e9, unit="GB", command=COMMAND),
        Figure(name="cache.verify_seconds_per_gb", value=verifying, unit="s/GB", command=COMMAND),
    ]


def _memory(folder: Path, processes: int) -> tuple[float, float]:
    """Return the summed proportional set size of processes in bytes, before and after each reads the full cache."""
    words = [sys.executable, "-c", RANK, str(folder), str(ROWS)]
    ranks = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    totals = []
    for _ in range(2):
        for rank in ranks:
            if not rank.stdout or rank.stdout.readline() != "ready\n":
                raise RuntimeError("a process could not read the cache")
        totals.append(sum(_proportional(rank.pid) for rank in ranks))
        for rank in ranks:
            if rank.stdin:
                rank.stdin.write("\n")
                rank.stdin.flush()
    for rank in ranks:
        rank.communicate()
    return totals[0], totals[1]


def _proportional(pid: int) -> float:
    report = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Pss: +(\d+) kB$", report, re.MULTILINE)
    if match is None:
        raise RuntimeError("the system does not report the proportional set size")
    return 1024.0 * int(match.group(1))
