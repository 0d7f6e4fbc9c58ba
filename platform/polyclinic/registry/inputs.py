"""Studies as MLflow hands them over: files, bytes, base64 in JSON, rows of a table."""

import base64
import binascii
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polyclinic.modality import Modality, Source, UnreadableSource

BASE64 = "b64"
_IN_MEMORY = Path("/dev/shm")
_UNNAMED = "file"
_LONGEST_NAME = 255


def is_one(data: Any) -> bool:
    """Whether this is a study, and not a sequence or a table of them."""
    return isinstance(data, Mapping)


def rows_of(data: Any) -> list[dict[str, Any]]:
    """Studies by modality, without what they lack.

    Args:
        data: one study, a sequence of them, or a table with a column per modality.

    Raises:
        ValueError: something else.
    """
    if isinstance(data, pd.DataFrame):
        data = data.to_dict("records")
    elif is_one(data):
        data = [data]
    if not isinstance(data, Sequence) or not all(isinstance(row, Mapping) for row in data):
        raise ValueError(
            f"got {type(data).__name__}, expected a mapping of modalities, a list of them or a table with a column per "
            "modality; over HTTP, send `inputs` or `dataframe_records`"
        )
    if any(isinstance(value, np.ndarray) and value.ndim for row in data for value in row.values()):
        raise ValueError("got arrays of studies by modality, expected studies; send `inputs` or `dataframe_records`")
    found = [{str(name): _unpacked(value) for name, value in row.items()} for row in data]
    return [{name: value for name, value in row.items() if not _is_blank(value)} for row in found]


@contextmanager
def as_sources(given: Mapping[str, Any], modalities: Mapping[str, Modality]) -> Iterator[dict[str, Source]]:
    """Sources that plugins read; content that came as bytes lies in a private folder in memory meanwhile.

    Args:
        given: by modality, a path, the content of its file as bytes or as ``{"b64": ...}``, several files as a mapping
            from name to content, a text, or cells by column. A string is a text and never a path: over HTTP, whoever
            asks must not choose what the server opens.
        modalities: of the bundle.

    Raises:
        ValueError: a modality that the bundle does not have, or content of another form.
    """
    if unknown := sorted(set(given) - set(modalities)):
        raise ValueError(f"got modality {unknown[0]!r}, the bundle has {list(modalities)}; leave it out")
    home = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=home, prefix="polyclinic-") as folder:
        yield {
            name: _source(name, value, modalities[name], Path(folder) / str(place))
            for place, (name, value) in enumerate(given.items())
        }


def _source(name: str, value: Any, plugin: Modality, folder: Path) -> Source:
    if isinstance(value, Path | str):
        return value
    if (content := _content(value, name)) is not None:
        return _written({_UNNAMED: content}, name, folder)[0]
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"{name}: got {type(value).__name__}, expected a path, bytes, {{{BASE64!r}: ...}}, files by name, a text "
            "or cells by column"
        )
    contents = {str(file): _content(one, name) for file, one in value.items()}
    files = {file: content for file, content in contents.items() if content is not None}
    if not files:
        return {str(column): "" if _is_blank(cell) else str(cell) for column, cell in value.items()}
    if len(files) < len(contents):
        raise ValueError(f"{name}: got files and cells in one mapping, expected either; give one of both")
    return _leading(_written(files, name, folder), plugin, name)


def _content(value: Any, name: str) -> bytes | None:
    """The bytes of a file; None where the value is none."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, Mapping) or set(value) != {BASE64}:
        return None
    try:
        return base64.b64decode(value[BASE64], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError(f"{name}: {BASE64!r} is not base64; send the file's content encoded by it") from None


def _written(files: Mapping[str, bytes], name: str, folder: Path) -> list[Path]:
    folder.mkdir()
    for file, content in files.items():
        if file in ("", ".", "..") or any(sign in file for sign in "/\\\0") or len(file.encode()) > _LONGEST_NAME:
            raise ValueError(f"{name}: got a file name that is too long or has a folder in it; send a plain one")
        (folder / file).write_bytes(content)
    return [folder / file for file in files]


def _leading(paths: Sequence[Path], plugin: Modality, name: str) -> Path:
    """The one of several files that leads to all others, as a WFDB header leads to its signals."""
    for path in paths:
        try:
            if set(paths) <= set(plugin.files(path)):
                return path
        except UnreadableSource:
            continue
    raise ValueError(f"{name}: got {len(paths)} files, of which none names all others; give the files of one study")


def _unpacked(value: Any) -> Any:
    """MLflow wraps what stands under ``inputs`` in arrays without dimensions."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value


def _is_blank(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
