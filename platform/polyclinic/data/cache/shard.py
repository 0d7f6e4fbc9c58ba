"""Shards: Arrow files of prepared items, with one record batch of a row per source content.

Columns: ``content`` (SHA-256), ``reason`` (of an unreadable source), and per tensor its bytes and its shape.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from polyclinic.files.atomic import atomic_file
from polyclinic.files.digest import file_sha256
from polyclinic.modality import Item, UnreadableSource

SUFFIX = ".arrow"

Row = tuple[bytes, Item | str]
"""SHA-256 of a source's content, and its item, or the reason why it could not be read."""

NO_SHARD = (OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError)
"""Errors that opening an invalid shard may raise; Arrow's errors derive from them."""

_KEY_BYTES = 32
_ENVIRONMENT, _TENSOR, _DTYPE = b"environment", b"tensor", b"dtype"


def write_shard(folder: Path, rows: Sequence[Row], environment: str) -> Path:
    """Write rows atomically to a file named by its SHA-256.

    Args:
        folder: folder of the shard.
        rows: one row or more.
        environment: environment for which the reasons hold; see ``environment``.

    Raises:
        OSError: the file cannot be written; nothing remains of it.
    """
    content = _serialised(rows, environment)
    path = folder / (hashlib.sha256(content).hexdigest() + SUFFIX)
    with atomic_file(path, shared=True) as partial:
        partial.touch(mode=0o600)
        partial.write_bytes(content)
    return path


def is_intact(path: Path) -> bool:
    """Return whether a shard's checksum is that in its name."""
    try:
        return file_sha256(path) + SUFFIX == path.name
    except OSError:
        return False


@dataclass(frozen=True)
class _Column:
    """One tensor of every row.

    Attributes:
        name: name of the tensor.
        values: concatenated values of all rows.
        ends: offsets of the rows in ``values``, one more than there are rows.
        shapes: shape in each row; None where a row lacks the tensor.
    """

    name: str
    values: Tensor
    ends: Sequence[int]
    shapes: Sequence[Sequence[int] | None]


class Shard:
    """A shard mapped into memory; all processes that read it share its pages.

    The mapping is copy-on-write: a plugin that modifies an item in place never changes the file.

    Args:
        path: file written by ``write_shard``.

    Raises:
        NO_SHARD: the file is not a shard.
    """

    def __init__(self, path: Path) -> None:
        mapped = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
        batch = pa.ipc.open_file(pa.py_buffer(mapped.numpy())).get_batch(0)
        batch.validate(full=True)
        self.environment: str = batch.schema.metadata[_ENVIRONMENT].decode()
        raw = batch.column(0).buffers()[1].to_pybytes()
        self.contents = [raw[start : start + _KEY_BYTES] for start in range(0, len(raw), _KEY_BYTES)]
        if len(self.contents) < batch.num_rows:
            raise ValueError(f"got {len(self.contents)} contents for {batch.num_rows} rows")
        del self.contents[batch.num_rows :]
        reasons = batch.column(1).to_pylist()
        self.reasons: dict[int, str] = {row: reason for row, reason in enumerate(reasons) if reason is not None}
        self._batch = batch

    @cached_property
    def _columns(self) -> list[_Column]:
        return list(_columns(self._batch))

    def item(self, row: int) -> Item:
        """Return the tensors of a row.

        Raises:
            UnreadableSource: the source could not be read when it was prepared.
        """
        if row in self.reasons:
            raise UnreadableSource(self.reasons[row])
        item: Item = {}
        for column in self._columns:
            shape = column.shapes[row]
            if shape is not None:
                item[column.name] = column.values[column.ends[row] : column.ends[row + 1]].view(shape)
        return item


def _columns(batch: pa.RecordBatch) -> Iterator[_Column]:
    for place, field in enumerate(batch.schema):
        if field.metadata and _TENSOR in field.metadata:
            dtype = _dtype(field.metadata[_DTYPE].decode())
            _, offsets, data = batch.column(place).buffers()
            # Arrow gives offsets in bytes; reading the buffer as uint8 and then viewing it needs no copy.
            bytes_ = torch.from_dlpack(pa.Array.from_buffers(pa.uint8(), data.size, [None, data]))
            ends = np.frombuffer(offsets, dtype=np.int64)[: batch.num_rows + 1]
            yield _Column(
                name=field.metadata[_TENSOR].decode(),
                values=bytes_[: int(ends[-1])].view(dtype),
                ends=(ends // dtype.itemsize).tolist(),
                shapes=batch.column(place + 1).to_pylist(),
            )


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"got {name!r}, expected the name of a dtype")
    return dtype


def _serialised(rows: Sequence[Row], environment: str) -> pa.Buffer:
    items = [{} if isinstance(made, str) else made for _, made in rows]
    fields = [pa.field("content", pa.binary(_KEY_BYTES)), pa.field("reason", pa.string())]
    arrays = [
        pa.array([key for key, _ in rows], pa.binary(_KEY_BYTES)),
        pa.array([made if isinstance(made, str) else None for _, made in rows], pa.string()),
    ]
    # One column per name and dtype, because a plugin may return another dtype for another study.
    for name, dtype in dict.fromkeys((name, value.dtype) for item in items for name, value in item.items()):
        column = [item[name] if name in item and item[name].dtype == dtype else None for item in items]
        about = {_TENSOR: name.encode(), _DTYPE: str(dtype).removeprefix("torch.").encode()}
        fields += [pa.field(name, pa.large_binary(), metadata=about), pa.field(f"{name}.shape", pa.list_(pa.int64()))]
        arrays += [_values(column), pa.array([None if value is None else list(value.shape) for value in column])]
    schema = pa.schema(fields, metadata={_ENVIRONMENT: environment.encode()})
    arrays = [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    return sink.getvalue()


def _values(column: Sequence[Tensor | None]) -> pa.Array:
    parts = [_bytes(value) for value in column]
    ends = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    data = np.concatenate(parts)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(parts), [None, pa.py_buffer(ends), pa.py_buffer(data)]
    )


def _bytes(value: Tensor | None) -> np.ndarray:
    # torch cannot view an empty tensor as another dtype, as it has no last stride.
    if value is None or value.numel() == 0:
        return np.empty(0, np.uint8)
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
