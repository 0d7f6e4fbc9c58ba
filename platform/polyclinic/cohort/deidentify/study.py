"""One study on its way out: every source cleaned by its plugin, or refused with a reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyclinic.cohort.cohort import Study
from polyclinic.modality import Cleaned, Deidentifiable, Redactable, Source, UnreadableSource
from polyclinic.privacy.identity import Identity

_LONGEST_REASON = 300


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a study's sources, by modality: cleaned, or the reason why not."""

    cleaned: Mapping[str, Cleaned]
    refused: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a first look at a study's sources found, by modality: names and numbers, and why one cannot be read."""

    names: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, str]


def look_at(study: Study, modalities: Mapping[str, Any]) -> Findings:
    """Read every source of a study, and the names and numbers by which it calls people.

    Args:
        study: of a patient.
        modalities: plugins by name, each both a ``Modality`` and ``Deidentifiable``.
    """
    names: dict[str, tuple[str, ...]] = {}
    refused: dict[str, str] = {}
    for name, source in study.sources.items():
        try:
            names[name] = tuple(modalities[name].names(source))
        except Exception:  # the reason is that for which it cannot be read, if it cannot
            names[name] = ()
        try:
            modalities[name].read(source)
        except UnreadableSource as reason:
            refused[name] = str(reason)[:_LONGEST_REASON]
        except Exception:  # the reason is worked out when it is cleaned
            continue
    return Findings(names=names, refused=refused)


def clean_study(
    study: Study,
    identity: Identity,
    out: Path,
    modalities: Mapping[str, Deidentifiable],
    *,
    suspects: bool,
    redact: bool = False,
) -> Outcome:
    """Clean every source of a study into one folder per modality, under a name that the key decides.

    Args:
        study: of a patient.
        identity: of that patient.
        out: has a folder for each modality.
        modalities: plugins by name.
        suspects: see ``Deidentifiable.deidentify``.
        redact: whether a plugin that can black words out of an image does so.
    """
    cleaned: dict[str, Cleaned] = {}
    refused: dict[str, str] = {}
    for name, source in study.sources.items():
        target = out / name / identity.mapped("study", study.study_id)
        try:
            cleaned[name] = _cleaned(modalities[name], source, target, identity, suspects=suspects, redact=redact)
        except (KeyboardInterrupt, SystemExit):
            raise
        except UnreadableSource as reason:
            refused[name] = str(reason)[:_LONGEST_REASON]
        except OSError:
            raise
        except BaseException as error:  # decoders in Rust panic past Exception
            refused[name] = f"{type(error).__name__} while it was cleaned: a fault of the plugin"
        if name in refused:
            for left in _written(target):
                left.unlink()
    return Outcome(cleaned=cleaned, refused=refused)


def _cleaned(
    modality: Deidentifiable, source: Source, target: Path, identity: Identity, *, suspects: bool, redact: bool
) -> Cleaned:
    if redact and isinstance(modality, Redactable):
        cleaned = modality.redact(source, target, identity)
    else:
        cleaned = modality.deidentify(source, target, identity, suspects=suspects)
    files = list(_written(target))
    assert not isinstance(cleaned.source, Path) or cleaned.source in files, "a plugin writes where it is told to"
    inline = "" if isinstance(cleaned.source, Path) else str(cleaned.source)
    if identity.is_in(inline.encode()) or any(map(identity.is_in_file, files)):
        raise UnreadableSource("a name or number of the patient is still in what was written of it")
    return cleaned


def _written(target: Path) -> Iterator[Path]:
    return target.parent.glob(f"{target.name}*")
