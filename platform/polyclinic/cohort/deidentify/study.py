"""De-identify the sources of one study; each is cleaned by its plugin, or refused with a reason."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyclinic.cohort.cohort import Study
from polyclinic.modality import Cleaned, Deidentifiable, Redactable, Source, UnreadableSource
from polyclinic.privacy.identity import Identity

_MAX_REASON_LENGTH = 300


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Cleaned sources of a study by modality, and the reasons why others were refused."""

    cleaned: Mapping[str, Cleaned]
    refused: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Identifying names and numbers in a study's sources by modality, and the reasons why others cannot be read."""

    names: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, str]


def find_names(study: Study, modalities: Mapping[str, Any]) -> Findings:
    """Read every source of a study, and find the names and numbers of people in it.

    Args:
        study: study to read.
        modalities: plugins by name, each both a ``Modality`` and ``Deidentifiable``.
    """
    names: dict[str, tuple[str, ...]] = {}
    refused: dict[str, str] = {}
    for name, source in study.sources.items():
        try:
            names[name] = tuple(modalities[name].names(source))
        except Exception:  # most likely unreadable, which is handled below
            names[name] = ()
        try:
            modalities[name].read(source)
        except UnreadableSource as reason:
            refused[name] = str(reason)[:_MAX_REASON_LENGTH]
        except Exception:  # cleaning the source will fail, and report the reason
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
    """Clean every source of a study into one folder per modality, under the mapped study id.

    Args:
        study: study to clean.
        identity: identity of its patient.
        out: folder with a subfolder for each modality.
        modalities: plugins by name.
        suspects: whether suspected names may pass; see ``Deidentifiable.deidentify``.
        redact: whether plugins that can do so black out words drawn in an image.
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
            refused[name] = str(reason)[:_MAX_REASON_LENGTH]
        except OSError:
            raise
        except BaseException as error:  # decoders in Rust panic past Exception
            refused[name] = f"{type(error).__name__} while it was cleaned: a bug of the plugin"
        if name in refused:
            for file in _written(target):
                file.unlink()
    return Outcome(cleaned=cleaned, refused=refused)


def _cleaned(
    modality: Deidentifiable, source: Source, target: Path, identity: Identity, *, suspects: bool, redact: bool
) -> Cleaned:
    if redact and isinstance(modality, Redactable):
        cleaned = modality.redact(source, target, identity)
    else:
        cleaned = modality.deidentify(source, target, identity, suspects=suspects)
    files = list(_written(target))
    assert not isinstance(cleaned.source, Path) or cleaned.source in files, "a plugin must write to its target"
    inline = "" if isinstance(cleaned.source, Path) else str(cleaned.source)
    if identity.is_in(inline.encode()) or any(map(identity.is_in_file, files)):
        raise UnreadableSource("a name or number of the patient is still in the cleaned source")
    return cleaned


def _written(target: Path) -> Iterator[Path]:
    return target.parent.glob(f"{target.name}*")
