"""A request with the slices of a scan beside other DICOM files: the header of each decides where it belongs."""

import asyncio
import hmac
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ct_series import write_series
from polyclinic.deploy.service.scoring import ScoringHandler
from polyclinic.deploy.service.uploads import Group, Part, sort_parts
from polyclinic.deploy.service.workers.decoder_pool import DecoderPool
from polyclinic.deploy.service.workers.decoder_worker import _answer
from polyclinic.modality import Modality, installed_modalities
from polyclinic.modality.physiology import Patient

NAMES = ("xray", "ecg", "volume")


@pytest.fixture(scope="module")
def plugins() -> dict[str, Modality]:
    installed = installed_modalities()
    return {name: installed[name]() for name in NAMES}


class Pool:
    """The pool with one worker, which is this process."""

    recognise = DecoderPool.recognise

    def __init__(self, plugins: dict[str, Modality], folder: Path) -> None:
        self.bundle, self.folder, self.asked = SimpleNamespace(modalities=plugins), folder, 0

    async def _exchange(self, admission: Any, message: bytes) -> bytes:
        self.asked += 1
        return _answer(self.bundle, message, self.folder)  # type: ignore[arg-type]


def joined(
    plugins: dict[str, Modality], folder: Path, paths: Sequence[Path], names: Sequence[str] = ()
) -> tuple[list[tuple[tuple[str, ...], int]], int]:
    """Return candidates and number of files of each group, and the number of messages to the worker."""
    parts = [
        Part(
            name=name,
            filename=path.name,
            content=bytearray(path.read_bytes()),
            digest=hmac.new(b"k", digestmod="sha256"),
        )
        for path, name in zip(paths, names or ["files"] * len(paths), strict=True)
    ]
    pool = Pool(plugins, folder / "worker")
    groups = sort_parts(parts, {name: plugin.suffixes for name, plugin in plugins.items()})
    handler = SimpleNamespace(readers=pool)
    found: list[Group] = asyncio.run(
        ScoringHandler._joined(handler, SimpleNamespace(number=1), groups)  # type: ignore[arg-type]
    )
    assert sum(len(group.parts) for group in found) == len(parts)
    return sorted((group.candidates, len(group.parts)) for group in found), pool.asked


def slices(folder: Path, **settings: Any) -> list[Path]:
    return sorted(write_series(folder, **settings).iterdir())


def phantom(plugin: Modality, path: Path) -> Path:
    visit = Patient(np.random.default_rng(3)).visit(np.random.default_rng(3))
    return plugin.phantom(visit, np.random.default_rng(3), path)


def test_slices_are_one_scan_and_a_radiograph_beside_them_is_another_file(
    plugins: dict[str, Modality], tmp_path: Path
) -> None:
    chest = phantom(plugins["xray"], tmp_path / "chest").rename(tmp_path / "IM0000")
    paths = [chest, *slices(tmp_path / "ct", name="IM{index:04d}")]
    assert joined(plugins, tmp_path, paths) == ([(("volume",), 9), (("xray", "ecg"), 1)], 1)


@pytest.mark.parametrize("broken", [b"", b"DICM" * 100, b"\x1f\x8b" + bytes(100)])
def test_a_broken_file_beside_a_scan_is_left_for_the_plugins_that_read_it(
    plugins: dict[str, Modality], tmp_path: Path, broken: bytes
) -> None:
    (tmp_path / "odd.dcm").write_bytes(broken)
    groups, _ = joined(plugins, tmp_path, [tmp_path / "odd.dcm", *slices(tmp_path / "ct")])
    assert groups == [(("volume",), 9), (("xray", "ecg"), 1)]


def test_a_named_file_takes_its_modality_from_the_others(plugins: dict[str, Modality], tmp_path: Path) -> None:
    chest = phantom(plugins["xray"], tmp_path / "chest")
    names = ["xray", *["files"] * 9]
    assert joined(plugins, tmp_path, [chest, *slices(tmp_path / "ct")], names) == (
        [(("volume",), 9), (("xray",), 1)],
        1,
    )


def test_one_file_is_not_read_twice(plugins: dict[str, Modality], tmp_path: Path) -> None:
    assert joined(plugins, tmp_path, slices(tmp_path / "ct", slices=1)) == ([(("xray", "ecg", "volume"), 1)], 0)


def test_names_that_are_uids_are_one_scan_too(plugins: dict[str, Modality], tmp_path: Path) -> None:
    paths = slices(tmp_path / "ct", name="1.2.826.0.1.{index}")
    assert joined(plugins, tmp_path, paths) == ([(("volume",), 9)], 1)


def test_slices_of_two_scans_stay_apart(plugins: dict[str, Modality], tmp_path: Path) -> None:
    def other(_: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID = "1.2.3"

    paths = slices(tmp_path / "a", slices=3) + slices(tmp_path / "b", slices=3, name="b{index}.dcm", change=other)
    groups, _ = joined(plugins, tmp_path, paths)
    assert groups == [(("xray", "ecg", "volume"), 1)] * 6
