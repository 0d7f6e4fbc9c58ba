"""The decoder worker: decodes uploaded files. It is killed if it takes too long, and replaced if it dies."""

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
from polyclinic.modality import Item, Modality, Scannable, UnreadableSource, Viewable


def main(connection: Connection, folder: str, memory: int, largest: int, seconds: int) -> None:
    """Answer requests until the front process closes the connection.

    Args:
        connection: connection to the front process.
        folder: private folder of this process, in memory.
        memory: maximum memory for decoding a file in bytes.
        largest: maximum size of a file in bytes.
        seconds: maximum CPU time for decoding a file.
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
            paths = _write_files(folder, head["names"], files)
        except OSError:
            return pack({"number": head["number"], "full": True})
        return (_recognise if "candidates_of" in head else _read)(bundle, head, paths)
    except MemoryError:
        return pack({"number": head["number"], "problem": "needs more memory than is allowed for a file"})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path, names: Sequence[str], files: Sequence[bytes]) -> list[Path]:
    folder.mkdir(mode=0o700)
    paths = [folder / name for name in names]
    for path, content in zip(paths, files, strict=True):
        assert path.parent == folder, "the front process passes plain names"
        path.write_bytes(content)
    return paths


def _recognise(bundle: Bundle, head: dict[str, Any], paths: Sequence[Path]) -> bytes:
    """Find the modality of each file by its header, and the modalities whose files are one recording."""
    plugins, found = bundle.modalities, {}
    for path, names in zip(paths, head["candidates_of"], strict=True):
        fitting = [name for name in names if _is_recognised(plugins[name], path)]
        found[path] = fitting[0] if len(fitting) == 1 else None
    joined = []
    for name in sorted({name for name in found.values() if name is not None}):
        of_name = [path for path in paths if found[path] == name]
        if len(of_name) > 1 and _is_recording(plugins[name], of_name):
            joined.append(name)
    return pack({"number": head["number"], "modalities": list(found.values()), "joined": joined})


def _is_recognised(plugin: Modality, path: Path) -> bool:
    if not isinstance(plugin, Scannable):
        return True
    try:
        plugin.recognise(path)
    except MemoryError:
        raise
    except Exception:  # a broken file is reported by the plugin that reads it
        return False
    return True


def _is_recording(plugin: Modality, paths: Sequence[Path]) -> bool:
    try:
        return _main_file(plugin, paths) is not None
    except MemoryError:
        raise
    except Exception:
        return False


def _read(bundle: Bundle, head: dict[str, Any], paths: Sequence[Path]) -> bytes:
    """Read files with the first candidate plugin that can."""
    problems = {}
    for name in head["candidates"]:
        plugin = bundle.modalities[name]
        try:
            raw = plugin.read(_source(plugin, paths))
            item = bundle.prepare(name, raw)
        except UnreadableSource as reason:
            problems[name] = str(reason)
        except MemoryError:
            raise
        except Exception as error:  # a bug of the plugin must not affect other files
            problems[name] = f"cannot be decoded ({type(error).__name__})"
        else:
            return pack(_answer_head(plugin, raw, item, {**head, "modality": name}), [_as_safetensors(item)])
    return pack({"number": head["number"], "problem": _summary(problems)})


def _answer_head(plugin: Modality, raw: Any, item: Item, head: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"number": head["number"], "modality": head["modality"], "problem": None}
    answer["notes"] = list(plugin.notes(raw))
    if isinstance(plugin, Viewable):
        if head["view"]:
            answer["view"] = plugin.view(raw).as_json()
        if head["relevance"] is not None:
            relevance = torch.tensor(head["relevance"], dtype=torch.float64)
            answer["located"] = plugin.locate(raw, item, relevance).as_json()
    return answer


def _as_safetensors(item: Item) -> bytes:
    return save({name: value.contiguous().clone() for name, value in item.items()})


def _source(plugin: Modality, paths: Sequence[Path]) -> Path:
    """Return the main file of a recording, such as the header that refers to its signal files."""
    if len(paths) == 1:
        return paths[0]
    if (main := _main_file(plugin, paths)) is None:
        raise UnreadableSource(f"got {len(paths)} files that are not parts of one recording; send those of one study")
    return main


def _main_file(plugin: Modality, paths: Sequence[Path]) -> Path | None:
    """Return the file that stands for all files; None where they are not one recording."""
    parts: set[Path] = set()
    for path in paths:
        # What stands for other files but not for all is part of another recording, and so are those files.
        if path not in parts:
            parts |= (found := set(plugin.files(path)))
            if found >= set(paths):
                return path
    return None


def _summary(problems: dict[str, str]) -> str:
    if len(problems) == 1:
        return next(iter(problems.values()))
    return "; ".join(f"as {name}: {reason}" for name, reason in problems.items())
