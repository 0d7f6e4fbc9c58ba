"""The process that decodes what was uploaded. It is killed where it takes too long, and replaced where it dies."""

import shutil
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.service.workers.messages import LARGEST, pack, unpack
from polyclinic.deploy.service.workers.preload import loaded
from polyclinic.deploy.service.workers.sandbox import allow_seconds, confine, ignore_signals, quieten
from polyclinic.modality import Item, Modality, UnreadableSource, Viewable


def main(connection: Connection, folder: str, memory: int, largest: int, seconds: int) -> None:
    """Answer until the other side is gone.

    Args:
        connection: to the front process.
        folder: of this process alone, in memory.
        memory: bytes that a file may take.
        largest: bytes of a file.
        seconds: of computing for a file.
    """
    ignore_signals()
    quieten()
    confine(memory=memory, largest=largest)
    bundle = loaded()
    while True:
        try:
            message = connection.recv_bytes(LARGEST)
        except (EOFError, OSError):
            return
        allow_seconds(seconds)
        connection.send_bytes(_answer(bundle, message, Path(folder)))


def _answer(bundle: Bundle, message: bytes, folder: Path) -> bytes:
    head, files = unpack(message)
    try:
        try:
            paths = _written(folder, head["names"], files)
        except OSError:
            return pack({"number": head["number"], "full": True})
        return _read(bundle, head, paths)
    except MemoryError:
        return pack({"number": head["number"], "problem": "needs more memory than is allowed for a file"})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _written(folder: Path, names: Sequence[str], files: Sequence[bytes]) -> list[Path]:
    folder.mkdir(mode=0o700)
    paths = [folder / name for name in names]
    for path, content in zip(paths, files, strict=True):
        assert path.parent == folder, "the front process passes plain names"
        path.write_bytes(content)
    return paths


def _read(bundle: Bundle, head: dict[str, Any], paths: Sequence[Path]) -> bytes:
    """By the first of the plugins that reads it."""
    problems = {}
    for name in head["candidates"]:
        plugin = bundle.modalities[name]
        try:
            raw = plugin.read(_source(plugin, paths))
            item = plugin.prepare(raw)
        except UnreadableSource as reason:
            problems[name] = str(reason)
        except MemoryError:
            raise
        except Exception as error:  # a fault of the plugin, which must not end more than this file
            problems[name] = f"cannot be decoded ({type(error).__name__})"
        else:
            return pack(_shown(plugin, raw, item, {**head, "modality": name}), [_stored(item)])
    return pack({"number": head["number"], "problem": _none_reads(problems)})


def _shown(plugin: Modality, raw: Any, item: Item, head: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"number": head["number"], "modality": head["modality"], "problem": None}
    told["notes"] = list(plugin.notes(raw))
    if isinstance(plugin, Viewable):
        if head["view"]:
            told["view"] = plugin.view(raw).as_json()
        if head["relevance"] is not None:
            relevance = torch.tensor(head["relevance"], dtype=torch.float64)
            told["located"] = plugin.locate(raw, item, relevance).as_json()
    return told


def _stored(item: Item) -> bytes:
    return save({name: value.contiguous().clone() for name, value in item.items()})


def _source(plugin: Modality, paths: Sequence[Path]) -> Path:
    """The file that stands for all of them, as the header of a record does for its signals."""
    if len(paths) == 1:
        return paths[0]
    for path in paths:
        if set(plugin.files(path)) >= set(paths):
            return path
    raise UnreadableSource(f"got {len(paths)} files that are not parts of one recording; send those of one study")


def _none_reads(problems: dict[str, str]) -> str:
    if len(problems) == 1:
        return next(iter(problems.values()))
    return "; ".join(f"as {name}: {reason}" for name, reason in problems.items())
