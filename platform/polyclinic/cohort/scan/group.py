"""Join the files of one study: by table, header, name and time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from polyclinic.cohort.cells import canonical_id, is_missing_value
from polyclinic.cohort.scan.left_out import LeftOut
from polyclinic.cohort.scan.names import Key
from polyclinic.cohort.scan.recognise import FileFacts
from polyclinic.cohort.scan.tables import StudyTable

_NOBODY = frozenset({"anonymous", "anonymized", "anonymised", "anon", "deidentified", "patient", "0"})


def stated_patient(source: FileFacts) -> str:
    """Return the patient id in the header of a source; empty for a text that stands for nobody."""
    patient = source.stated.patient
    return "" if is_missing_value(patient) or patient.casefold() in _NOBODY else patient


class Groups:
    """Disjoint groups of sources, of which none has two patients or two rows of one table.

    Args:
        sources: all sources.
    """

    def __init__(self, sources: Sequence[FileFacts]) -> None:
        self._parent = list(range(len(sources)))
        # Devices write one id with and without leading zeros.
        self._patients = [canonical_id(stated_patient(source)) for source in sources]
        self._is_identified = [bool(source.stated.study or self._patients[at]) for at, source in enumerate(sources)]
        self._rows: list[dict[int, int]] = [{} for _ in sources]

    def root(self, place: int) -> int:
        """Return the source that stands for the group of a source."""
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def patient(self, place: int) -> str:
        """Return the canonical id of the patient of the group of a source; empty where no header states one."""
        return self._patients[self.root(place)]

    def rows(self, place: int) -> Mapping[int, int]:
        """Return the row of each table for the group of a source."""
        return self._rows[self.root(place)]

    def is_identified(self, place: int) -> bool:
        """Return whether a header or a table identifies the study of a source."""
        return self._is_identified[self.root(place)]

    def set_row(self, place: int, table: int, row: int) -> bool:
        """Assign the row of a table to a group; return whether it had none of this table, or the same."""
        root = self.root(place)
        self._is_identified[root] = True
        return self._rows[root].setdefault(table, row) == row

    def agree(self, places: Iterable[int]) -> bool:
        """Return whether sources may be of one study."""
        roots = {self.root(place) for place in places}
        rows: dict[int, set[int]] = defaultdict(set)
        for root in roots:
            for table, row in self._rows[root].items():
                rows[table].add(row)
        patients = {self._patients[root] for root in roots} - {""}
        return len(patients) <= 1 and all(len(different) == 1 for different in rows.values())

    def join(self, places: Iterable[int]) -> None:
        """Join the groups of sources that agree."""
        first, *others = sorted({self.root(place) for place in places})
        for other in others:
            self._parent[other] = first
            self._patients[first] = self._patients[first] or self._patients[other]
            self._is_identified[first] |= self._is_identified[other]
            self._rows[first] = self._rows[other] | self._rows[first]


def group_sources(
    sources: Sequence[FileFacts], tables: Sequence[StudyTable], keys: Sequence[Key], *, hours: float, left_out: LeftOut
) -> list[list[int]]:
    """Return the sources of each study, by number, in the order of their first paths.

    The evidence is used in the order table, Study Instance UID, accession number, name and time. Later evidence never
    joins what earlier evidence keeps apart.

    Args:
        sources: sources in the order of their paths.
        tables: tables that list studies.
        keys: name of the study of each source.
        hours: longest time between files of one patient that are joined without other evidence.
        left_out: where contradictory files are added.
    """
    groups, refused = Groups(sources), set[int]()
    for number, table in enumerate(tables):
        for row, members in enumerate(table.members):
            _join_row(groups, members - refused, number, row, refused, left_out, sources)
    _join_headers(groups, sources, refused, left_out)
    _join_names(groups, sources, keys, refused, left_out)
    _join_times(groups, sources, hours, refused)
    found: dict[int, list[int]] = defaultdict(list)
    for place in range(len(sources)):
        if place not in refused:
            found[groups.root(place)].append(place)
    return list(found.values())


def _join_row(
    groups: Groups,
    members: Iterable[int],
    table: int,
    row: int,
    refused: set[int],
    left_out: LeftOut,
    sources: Sequence[FileFacts],
) -> None:
    places = sorted(members)
    free = [place for place in places if groups.rows(place).get(table, row) == row]
    _refuse(set(places) - set(free), "ambiguous", refused, left_out, sources)
    if not free:
        return
    if not groups.agree(free):
        _refuse(free, "conflicting-headers", refused, left_out, sources)
        return
    groups.join(free)
    groups.set_row(free[0], table, row)


def _join_headers(groups: Groups, sources: Sequence[FileFacts], refused: set[int], left_out: LeftOut) -> None:
    studies: dict[str, list[int]] = defaultdict(list)
    accessions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, source in enumerate(sources):
        if place not in refused and source.stated.study:
            studies[source.stated.study].append(place)
    for places in studies.values():
        if len({canonical_id(stated_patient(sources[place])) for place in places} - {""}) > 1:
            _refuse(places, "conflicting-headers", refused, left_out, sources)
        elif groups.agree(places):
            groups.join(places)
    for place, source in enumerate(sources):
        if place not in refused and groups.patient(place) and source.stated.accession:
            accessions[groups.patient(place), source.stated.accession].append(place)
    for places in accessions.values():
        if groups.agree(places):
            groups.join(places)


def _join_names(
    groups: Groups, sources: Sequence[FileFacts], keys: Sequence[Key], refused: set[int], left_out: LeftOut
) -> None:
    named: dict[Key, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if place not in refused:
            named[key].append(place)
    for places in named.values():
        if groups.agree(places):
            groups.join(places)
        else:
            unidentified = [place for place in places if not groups.is_identified(place)]
            _refuse(unidentified, "ambiguous-name", refused, left_out, sources)


def _join_times(groups: Groups, sources: Sequence[FileFacts], hours: float, refused: set[int]) -> None:
    """Join groups of one patient that are near in time and have no modality in common, the earliest first."""
    timed: dict[str, list[tuple[datetime, int]]] = defaultdict(list)
    modalities: dict[int, set[str]] = defaultdict(set)
    for place, source in enumerate(sources):
        if place in refused:
            continue
        modalities[groups.root(place)].add(source.modality)
        if groups.patient(place) and (moment := _moment(source.stated.time)):
            timed[groups.patient(place)].append((moment, place))
    for entries in timed.values():
        start: tuple[datetime, int] | None = None
        for moment, place in sorted(entries):
            if start is None:
                start = (moment, place)
                continue
            first, root = groups.root(start[1]), groups.root(place)
            if first == root:
                continue
            is_near = (moment - start[0]).total_seconds() <= hours * 3600
            if is_near and not modalities[first] & modalities[root] and groups.agree((first, root)):
                both = modalities[first] | modalities[root]
                groups.join((first, root))
                modalities[groups.root(root)] = both
            else:
                start = (moment, place)


def _moment(text: str) -> datetime | None:
    """Parse a time; its zone is dropped, as most files state none and times are compared within a patient only."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None


def _refuse(
    places: Iterable[int], reason: str, refused: set[int], left_out: LeftOut, sources: Sequence[FileFacts]
) -> None:
    for place in sorted(set(places) - refused):
        refused.add(place)
        left_out.add(reason, sources[place].path)
