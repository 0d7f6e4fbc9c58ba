"""Which files are of which modality."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from polyclinic.deploy.service.errors import Refusal
from polyclinic.deploy.service.upload import Part

FILES = "files"
"""Name of the parts that are sorted here."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Files that belong together.

    Attributes:
        candidates: modalities whose plugins may read them, in order.
        parts: the files.
    """

    candidates: tuple[str, ...]
    parts: tuple[Part, ...]


def sort_parts(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> list[Group]:
    """Group files by modality.

    Parts are named by their modality; those named ``files`` go by how their names end. Where that leaves several
    modalities, the plugins will tell: a file is of the first that reads it, and files whose names differ only in
    their endings stay together, as a header and its signals.

    Args:
        parts: of one request.
        suffixes: by modality, how its files end.

    Raises:
        Refusal: a part that is of no modality.
    """
    groups = [*_by_name(parts, suffixes), *_by_suffix(parts, suffixes)]
    taken: set[str] = set()
    for group in sorted(groups, key=lambda one: len(one.candidates)):
        if set(group.candidates) <= taken:
            raise Refusal(422, f"got more than one study's files for {group.candidates[0]}; send those of one study")
        if len(group.candidates) == 1:
            taken.add(group.candidates[0])
    return [_without(group, taken) for group in groups]


def _by_name(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> Iterator[Group]:
    if any(one.name != FILES and one.name not in suffixes for one in parts):
        raise Refusal(422, f"got a part with another name, expected some of {[*suffixes, FILES]}; rename it")
    for name, ends in suffixes.items():
        if own := [one for one in parts if one.name == name]:
            for place, one in enumerate(own):
                # Sent without a file name, as a plain field is.
                one.filename = one.filename or f"part{place}{ends[0] if ends else ''}"
            yield Group(candidates=(name,), parts=tuple(own))


def _by_suffix(parts: Sequence[Part], suffixes: Mapping[str, Sequence[str]]) -> Iterator[Group]:
    found: dict[tuple[tuple[str, ...], str], list[Part]] = {}
    for one in parts:
        if one.name == FILES:
            path = PurePath(one.filename or "part")
            fitting = tuple(name for name, ends in suffixes.items() if path.suffix.lower() in ends)
            if not fitting:
                known = sorted({end for ends in suffixes.values() for end in ends if end})
                raise Refusal(422, f"got a file whose name ends in none of {known}; name its part by its modality")
            # Several files of one sure modality belong together; of an unsure one only those that share a stem.
            found.setdefault((fitting, "" if len(fitting) == 1 else path.stem), []).append(one)
    for (fitting, _), own in found.items():
        for place, one in enumerate(own):
            one.filename = one.filename or f"part{place}"
        yield Group(candidates=fitting, parts=tuple(own))


def _without(group: Group, taken: set[str]) -> Group:
    """Two files may both be of two modalities; one that is taken for sure is left to its own file."""
    if len(group.candidates) == 1:
        return group
    return Group(candidates=tuple(name for name in group.candidates if name not in taken), parts=group.parts)
