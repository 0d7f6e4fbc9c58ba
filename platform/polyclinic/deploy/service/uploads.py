"""Uploads: parse multipart files within their limits while they arrive, then assign them to modalities."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from polyclinic.deploy.service.errors import ServiceError

MOST_PARTS = 1024
"""Most files of a study: a series of CT has a few hundred."""

_MAX_NAME_BYTES = 150
_PLAIN_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")
_MEGABYTE = 1 << 20


@dataclass(kw_only=True)
class Part:
    """One uploaded file.

    Attributes:
        name: name of the part: a modality, or ``files``.
        filename: file name without a folder; appears in no log and no message.
        content: content of the file.
        digest: keyed digest of the content, for the audit log.
    """

    name: str
    filename: str
    content: bytearray = field(default_factory=bytearray)
    digest: "hmac.HMAC"


class Upload:
    """Parser of the body of one request.

    Args:
        content_type: Content-Type header of the request.
        largest: maximum size of a file in bytes.
        most: maximum size of the request in bytes.
        digest: factory of keyed digests.

    Raises:
        ServiceError: the content type is not multipart/form-data with a boundary.
    """

    def __init__(self, content_type: str, *, largest: int, most: int, digest: Callable[[], "hmac.HMAC"]) -> None:
        self._largest, self._most, self._digest = largest, most, digest
        self.parts: list[Part] = []
        self.size = 0
        self._whole = False
        self._headers: dict[bytes, bytes] = {}
        self._key, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(_boundary(content_type), {
            "on_part_begin": self._begin, "on_header_field": self._header_field, "on_header_value": self._header_value,
            "on_header_end": self._header_end, "on_headers_finished": self._named, "on_part_data": self._data,
            "on_end": self._end,
        })  # fmt: skip

    async def read(self, headers: Mapping[str, str], stream: AsyncIterator[bytes], *, seconds: float) -> list[Part]:
        """Read the body, and return its parts.

        Args:
            headers: headers of the request.
            stream: chunks of the body.
            seconds: maximum time for sending the body.

        Raises:
            ServiceError: the body is too large, too slow, broken, incomplete or empty.
        """
        announced = headers.get("content-length", "0")
        if announced.isascii() and announced.isdecimal() and int(announced) > self._most:
            raise self._too_much()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in stream:
                    self._write(chunk)
        except TimeoutError:
            raise ServiceError(
                408, f"the upload took longer than {seconds:g} s; send smaller files, or faster"
            ) from None
        if not self._whole:
            raise ServiceError(400, "the multipart body ends in the middle; send it again")
        if not self.parts:
            raise ServiceError(400, "got no file, expected at least one; send each as a part named by its modality")
        return self.parts

    def _write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._most:
            raise self._too_much()
        try:
            self._parser.write(chunk)
        except MultipartParseError:
            raise ServiceError(400, "the multipart body is broken; send it again") from None

    def _too_much(self) -> ServiceError:
        return ServiceError(
            413, f"got a request of more than {self._most / _MEGABYTE:g} MB, the maximum; send fewer files"
        )

    def _begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise ServiceError(413, f"got a request of more than {MOST_PARTS} parts, the maximum; send fewer files")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._key).lower()] = bytes(self._value)
        self._key, self._value = bytearray(), bytearray()

    def _named(self) -> None:
        if self._headers.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN_ENCODINGS:
            raise ServiceError(400, "got a part with a transfer encoding, expected plain bytes; omit the encoding")
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise ServiceError(400, "got a part without a name, expected the name of its modality or `files`")
        filename = _plain(options[b"filename"]) if options.get(b"filename") else ""
        if any(part.name == name and part.filename == filename for part in self.parts):
            raise ServiceError(400, "got two files of the same name for one modality; send each file once")
        self.parts.append(Part(name=name, filename=filename, digest=self._digest()))

    def _data(self, data: bytes, start: int, end: int) -> None:
        part, chunk = self.parts[-1], memoryview(data)[start:end]
        if len(part.content) + len(chunk) > self._largest:
            raise ServiceError(
                413, f"got a file of more than {self._largest / _MEGABYTE:g} MB, the maximum; send a smaller one"
            )
        part.content += chunk
        part.digest.update(chunk)

    def _end(self) -> None:
        self._whole = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        raise ServiceError(415, "got another content type, expected multipart/form-data with one part for each file")
    if not 0 < len(boundary) <= 70:
        raise ServiceError(
            400, "got multipart/form-data without a boundary of 1 to 70 characters; let the client set it"
        )
    return boundary


def _plain(filename: bytes) -> str:
    """Return a file name without the folder that old browsers send; refuse names that a file system may not accept."""
    name = filename.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    if name in ("", ".", "..") or not name.isprintable() or len(name.encode()) > _MAX_NAME_BYTES:
        raise ServiceError(
            400, f"got a file name that is empty, unprintable or longer than {_MAX_NAME_BYTES} bytes; rename the file"
        )
    return name


FILES = "files"
"""Name of the parts that are assigned to a modality by their file names."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files that belong together, such as a header and its signals.

    Attributes:
        candidates: modalities that may read the files, in the order in which they are tried.
        parts: uploaded files.
        by_stem: whether they were put together by their names alone, as their ending fits several modalities.
    """

    candidates: tuple[str, ...]
    parts: tuple[Part, ...]
    by_stem: bool = False


def sort_parts(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> list[Group]:
    """Group files by modality.

    A part is named by its modality, or ``files``; the latter are assigned by the endings of their file names. If an
    ending fits several modalities, the first plugin that reads the file decides, and files whose names differ only in
    the ending stay together, as a header and its signals do.

    Args:
        parts: parts of one request.
        suffixes: endings of file names, by modality.

    Raises:
        ServiceError: a part fits no modality, or two groups fit the same one.
    """
    groups = [*_by_name(parts, suffixes), *_by_suffix(parts, suffixes)]
    taken: set[str] = set()
    for group in sorted(groups, key=lambda group: len(group.candidates)):
        if set(group.candidates) <= taken:
            raise ServiceError(
                422, f"got more than one study's files for {group.candidates[0]}; send those of one study"
            )
        if len(group.candidates) == 1:
            taken.add(group.candidates[0])
    return [_without_taken(group, taken) for group in groups]


def _by_name(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> Iterator[Group]:
    if any(part.name != FILES and part.name not in suffixes for part in parts):
        raise ServiceError(422, f"got a part with an unknown name, expected one of {[*suffixes, FILES]}; rename it")
    for name, endings in suffixes.items():
        if matching := [part for part in parts if part.name == name]:
            for index, part in enumerate(matching):
                # A plain form field has no file name.
                part.filename = part.filename or f"part{index}{endings[0] if endings else ''}"
            yield Group(candidates=(name,), parts=tuple(matching))


def _by_suffix(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> Iterator[Group]:
    grouped: dict[tuple[tuple[str, ...], str], list[Part]] = {}
    for part in parts:
        if part.name == FILES:
            filename = part.filename or "part"
            candidates = tuple(name for name, endings in suffixes.items() if _ends_in(filename, endings))
            if not candidates:
                endings = sorted({ending for endings in suffixes.values() for ending in endings if ending})
                raise ServiceError(
                    422, f"got a file whose name ends in none of {endings}; name its part by its modality"
                )
            # All files with one candidate belong together; with several candidates, only those that share a stem.
            stem = "" if len(candidates) == 1 else filename.removesuffix(_suffix(filename))
            grouped.setdefault((candidates, stem), []).append(part)
    for (candidates, _), matching in grouped.items():
        for index, part in enumerate(matching):
            part.filename = part.filename or f"part{index}"
        yield Group(candidates=candidates, parts=tuple(matching), by_stem=len(candidates) > 1)


def _ends_in(filename: str, endings: Sequence[str]) -> bool:
    if not _suffix(filename):
        return "" in endings
    return any(ending and filename.lower().endswith(ending) for ending in endings)


def _suffix(filename: str) -> str:
    """Return the suffix of a file name; the number at the end of a UID is none."""
    suffix = PurePath(filename).suffix
    return "" if suffix[1:].isdecimal() else suffix


def join_parts(groups: Sequence[Group], modality_of: Mapping[int, str], joined: Collection[str]) -> list[Group]:
    """Join groups whose files are parts of one recording, such as the slices of a series.

    Args:
        groups: result of ``sort_parts``.
        modality_of: modality of recognised files, by the ``id`` of the part.
        joined: modalities whose recognised files are one recording.
    """
    parts = {name: tuple(_parts_of(groups, modality_of, name)) for name in joined}
    taken = {id(part) for together in parts.values() for part in together}
    rest = [group for group in groups if not {id(part) for part in group.parts} & taken]
    whole = [Group(candidates=(name,), parts=together) for name, together in parts.items()]
    return [*whole, *(_without_taken(group, set(joined)) for group in rest)]


def _parts_of(groups: Sequence[Group], modality_of: Mapping[int, str], name: str) -> Iterator[Part]:
    """Yield the files of a modality, and those that have the name of one of them but for its ending."""
    for group in groups:
        if group.by_stem and any(modality_of.get(id(part)) == name for part in group.parts):
            yield from group.parts


def _without_taken(group: Group, taken: set[str]) -> Group:
    """Drop candidates that an unambiguous file has claimed already."""
    if len(group.candidates) == 1:
        return group
    return replace(group, candidates=tuple(name for name in group.candidates if name not in taken))
