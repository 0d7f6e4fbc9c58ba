"""Find the studies of a DICOMweb server and retrieve the instances that the installed plugins may read.

dicomweb-client searches (QIDO-RS). Instances are retrieved (WADO-RS) byte for byte: the client would parse them and
write them anew, and take a cut-off one for complete.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dicomweb_client.web import DICOMwebClient

from polyclinic.cohort.cells import canonical_id
from polyclinic.cohort.dicomweb.session import ServerSession, Unusable
from polyclinic.files.atomic import atomic_file
from polyclinic.modality import Modality, Retrievable, Scannable, UnreadableSource
from polyclinic.system.progress import track

NOTE = "dicomweb.json"
"""File in the folder of the instances, by which a repeated command knows that it may continue."""

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_PATIENT, _MODALITY = "00100020", "00080060"
_UID = re.compile(r"(?=[0-9.]{1,64}\Z)[0-9]+(?:\.[0-9]+)*")
_PAGE_SIZE = 500
_MAX_ENTRIES = 1_000_000


@dataclass(kw_only=True)
class Retrieved:
    """What a retrieval did.

    Attributes:
        studies: number of studies with an instance to retrieve.
        instances: number of instances that were written.
        known: number of instances that were there from an earlier command.
        refused: number of instances that were not written, by reason.
        left_out: UIDs of these, with the reason, which the note in the folder lists.
    """

    studies: int = 0
    instances: int = 0
    known: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_out: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Instance:
    study: str
    series: str
    uid: str
    patient: str


def retrieve(
    address: str,
    folder: Path,
    *,
    modalities: Mapping[str, Modality],
    filters: Mapping[str, str],
    limit: int | None,
    login: str,
) -> Retrieved:
    """Write the instances of a server into a folder, as ``STUDY/INSTANCE.dcm`` by their UIDs.

    Instances that the folder has are not retrieved again.

    Args:
        address: address of ``read_address``.
        folder: new folder, or one of an earlier retrieval from the same server.
        modalities: installed plugins by name, which decide what is retrieved.
        filters: query for studies, by attribute.
        limit: largest number of studies; None for all.
        login: login of ``read_login``.

    Raises:
        ValueError: the folder has other files, no plugin reads DICOM, or the server cannot be used; what was
            retrieved before remains.
    """
    wanted = sorted({kind for plugin in _retrievable(modalities) for kind in plugin.dicom_modalities})
    if not wanted:
        raise ValueError("none of the installed plugins retrieves DICOM; see `polyclinic modalities`")
    if limit is not None and limit < 1:
        raise ValueError(f"got limit {limit}, expected 1 or more; set `--limit`")
    _claim(folder, address)
    # It logs addresses with queries, and warnings in the words of the server.
    for name in ("dicomweb_client", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    result = Retrieved()
    with ServerSession(address, login) as session:
        client = DICOMwebClient(address, session=session)
        client.set_http_retry_params(retry=False)  # it retries every error; the session retries those that pass
        studies = _studies(client, wanted, filters, limit)
        for study, patient in track(studies.items(), "retrieving studies", total=len(studies)):
            instances = list(_instances(client, study, patient, wanted))
            result.studies += bool(instances)
            for instance in instances:
                _write(session, address, folder, instance, modalities, result)
    _write_note(folder, address, result.left_out)
    return result


def _retrievable(modalities: Mapping[str, Modality]) -> list[Retrievable]:
    return [plugin for plugin in modalities.values() if isinstance(plugin, Retrievable)]


def _claim(folder: Path, address: str) -> None:
    """Make the folder with its note.

    Raises:
        ValueError: the folder has files of something else than a retrieval from this server.
    """
    note = folder / NOTE
    if folder.is_dir() and any(folder.iterdir()):
        try:
            stated = json.loads(note.read_bytes())["server"]
        except (OSError, ValueError, TypeError, KeyError):
            stated = None
        if stated != address:
            raise ValueError(
                f"got folder {folder.name!r} with files that are not from this server, expected a new folder for what "
                "is retrieved; name another"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write_note(folder, address, [])


def _write_note(folder: Path, address: str, left_out: list[dict[str, str]]) -> None:
    with atomic_file(folder / NOTE) as partial_file:
        content = json.dumps({"server": address, "not_retrieved": left_out}, indent=1)
        partial_file.write_text(content, encoding="utf-8")


def _studies(
    client: DICOMwebClient, wanted: list[str], filters: Mapping[str, str], limit: int | None
) -> dict[str, str]:
    """Return the patient id of each study that matches, by its UID; empty where the server states none."""
    kinds: list[dict[str, str]] = [{}]
    if not {"ModalitiesInStudy", "00080061"} & set(filters):
        kinds = [{"ModalitiesInStudy": kind} for kind in wanted]
    found: dict[str, str] = {}
    for kind in kinds:
        search = partial(client.search_for_studies, search_filters={**filters, **kind})
        for entry in _pages(search, _STUDY):
            found.setdefault(_uid(entry, _STUDY), _text(entry, _PATIENT))
            if limit is not None and len(found) >= limit:
                return found
    return found


def _instances(client: DICOMwebClient, study: str, patient: str, wanted: list[str]) -> Iterator[_Instance]:
    for series in _pages(partial(client.search_for_series, study), _SERIES):
        if _text(series, _MODALITY) in wanted:
            uid = _uid(series, _SERIES)
            for entry in _pages(partial(client.search_for_instances, study, uid), _INSTANCE):
                yield _Instance(study, uid, _uid(entry, _INSTANCE), patient)


def _pages(search: Callable[..., list[Any]], tag: str) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of all pages; a server that ignores the offset sends the first page again.

    Raises:
        ValueError: the server does not answer the search in DICOM JSON, or without an end.
    """
    seen: set[str] = set()
    offset = 0
    while True:
        try:
            page = search(limit=_PAGE_SIZE, offset=offset)
        except Unusable as error:
            raise ValueError(
                f"the server does not answer searches ({error}); set `--dicomweb` to the address that "
                "`/studies` follows"
            ) from None
        except (TypeError, UnicodeError, RecursionError, json.JSONDecodeError):
            raise _not_json() from None
        if not isinstance(page, list):
            raise _not_json()
        new = {_uid(entry, tag): entry for entry in page}
        new = {uid: entry for uid, entry in new.items() if uid not in seen}
        if not new:
            return
        seen |= new.keys()
        offset += len(page)
        if len(seen) > _MAX_ENTRIES:
            raise ValueError(f"the server lists more than {_MAX_ENTRIES:,} entries; narrow `--query`")
        yield from new.values()


def _uid(entry: Any, tag: str) -> str:
    """Return a UID, which becomes part of addresses and file names."""
    text = _text(entry, tag)
    if not _UID.fullmatch(text):
        raise _not_json()
    return text


def _text(entry: Any, tag: str) -> str:
    """Return the first value of an attribute in DICOM JSON (PS3.18, F.2); empty where there is none."""
    if not isinstance(entry, dict):
        raise _not_json()
    attribute = entry.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]).strip() if isinstance(values, list) and values and values[0] is not None else ""


def _not_json() -> ValueError:
    return ValueError("the server answers a search in another form than DICOM JSON; set `--dicomweb` to its service")


def _write(
    session: ServerSession,
    address: str,
    folder: Path,
    instance: _Instance,
    modalities: Mapping[str, Modality],
    result: Retrieved,
) -> None:
    """Write one instance, or count why it is not."""
    path = folder / instance.study / f"{instance.uid}.dcm"
    if path.is_file():
        result.known += 1
        return
    url = f"{address}/studies/{instance.study}/series/{instance.series}/instances/{instance.uid}"
    try:
        content = session.part(url)
        with atomic_file(path) as partial_file:
            partial_file.write_bytes(content)
            _refuse_other(partial_file, instance, modalities)
    except Unusable as error:
        result.refused[str(error)] += 1
        result.left_out.append({"study": instance.study, "instance": instance.uid, "why": str(error)})
    else:
        result.instances += 1


def _refuse_other(file: Path, instance: _Instance, modalities: Mapping[str, Modality]) -> None:
    """Refuse an instance of another patient or study than was asked for, or that no plugin recognises."""
    for plugin in modalities.values():
        if not (isinstance(plugin, Retrievable) and isinstance(plugin, Scannable)):
            continue
        try:
            stated = plugin.recognise(file)
        except UnreadableSource:
            continue
        if stated.study != instance.study:
            raise Unusable("an instance of another study than was asked for")
        patients = {canonical_id(patient) for patient in (stated.patient, instance.patient)} - {""}
        if len(patients) > 1:
            raise Unusable("an instance of another patient than was asked for")
        return
    raise Unusable("an instance that no installed plugin recognises")
