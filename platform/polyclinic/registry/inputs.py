"""Convert MLflow inputs to studies: files, bytes, base64 in JSON, rows of a table."""

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
from polyclinic.system.names import refuse_unknown

BASE64 = "b64"
_MEMORY_FOLDER = Path("/dev/shm")
_DEFAULT_FILE_NAME = "file"
_MAX_NAME_BYTES = 255


def is_one(data: Any) -> bool:
    """Return whether the data are a single study, not a sequence or a table of studies."""
    return isinstance(data, Mapping)


def rows_of(data: Any) -> list[dict[str, Any]]:
    """Return studies as mappings by modality, without missing modalities.

    Args:
        data: a study, a sequence of studies, or a table with a column per modality.

    Raises:
        ValueError: the data have another form.
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
    """Yield sources that plugins can read; bytes are written to a private folder in memory meanwhile.

    Args:
        given: by modality, a path, the content of a file as bytes or as ``{"b64": ...}``, several files as a mapping
            from name to content, a text, or cells by column. A string is a text and never a path: an HTTP client must
            not choose which files the server opens.
        modalities: plugins of the bundle.

    Raises:
        ValueError: the bundle does not have a modality, or content has another form.
    """
    refuse_unknown("modality", sorted(given), modalities, "leave it out, or use a bundle with it")
    home = _MEMORY_FOLDER if os.access(_MEMORY_FOLDER, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=home, prefix="polyclinic-") as folder:
        yield {
            name: _source(name, value, modalities[name], Path(folder) / str(place))
            for place, (name, value) in enumerate(given.items())
        }


def _source(name: str, value: Any, plugin: Modality, folder: Path) -> Source:
    if isinstance(value, Path | str):
        return value
    if (content := _content(value, name)) is not None:
        return _written({_DEFAULT_FILE_NAME: content}, name, folder)[0]
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"{name}: got {type(value).__name__}, expected a path, bytes, {{{BASE64!r}: ...}}, files by name, a text "
            "or cells by column"
        )
    contents = {str(file): _content(content, name) for file, content in value.items()}
    files = {file: content for file, content in contents.items() if content is not None}
    if not files:
        return {str(column): "" if _is_blank(cell) else str(cell) for column, cell in value.items()}
    if len(files) < len(contents):
        raise ValueError(f"{name}: got files and cells in one mapping, expected only one kind; send files or cells")
    return _leading(_written(files, name, folder), plugin, name)


def _content(value: Any, name: str) -> bytes | None:
    """Return the bytes of a file; None if the value is not file content."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, Mapping) or set(value) != {BASE64}:
        return None
    try:
        return base64.b64decode(value[BASE64], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError(f"{name}: {BASE64!r} is not base64; send the file's content base64-encoded") from None


def _written(files: Mapping[str, bytes], name: str, folder: Path) -> list[Path]:
    folder.mkdir()
    for file, content in files.items():
        if file in ("", ".", "..") or any(sign in file for sign in "/\\\0") or len(file.encode()) > _MAX_NAME_BYTES:
            raise ValueError(f"{name}: got a file name that is too long or includes a folder; send a plain file name")
        (folder / file).write_bytes(content)
    return [folder / file for file in files]


def _leading(paths: Sequence[Path], plugin: Modality, name: str) -> Path:
    """Return the file that references all others, as a WFDB header references its signals."""
    for path in paths:
        try:
            if set(paths) <= set(plugin.files(path)):
                return path
        except UnreadableSource:
            continue
    raise ValueError(f"{name}: got {len(paths)} files, of which none names all others; send the files of one study")


def _unpacked(value: Any) -> Any:
    """Unwrap a value of ``inputs``, which MLflow wraps in an array without dimensions."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value


def _is_blank(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
