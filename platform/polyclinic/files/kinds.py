"""What a file or folder holds, for messages where a command gets a file of another kind than it reads."""

from pathlib import Path
from typing import Final

from polyclinic.files.yaml_loader import load_yaml

BUNDLE: Final = "a bundle"
CHECKPOINT: Final = "a checkpoint"
COHORT: Final = "a cohort file"
CONFIGURATION: Final = "a configuration of `polyclinic fit`"
FOLDS_REPORT: Final = "a report of `polyclinic crossval`"
PROMPTS: Final = "a prompt file"
_FOLDER: Final = "a folder"
_CONTENT, _SUMS = "bundle.json", "SHA256SUMS"
_KEYS = {
    COHORT: {"table", "study_id"},
    PROMPTS: {"score_rule", "findings"},
    FOLDS_REPORT: {"checkpoints"},
}
_CONFIGURATION_KEYS = {"model", "data", "trainer", "fit"}
_SUFFIXES = {".ckpt": CHECKPOINT, ".csv": "a table", ".tsv": "a table", ".parquet": "a table"}
_MAX_CHARACTERS = 1_000_000


def refuse_other_kind(path: Path, kind: str, remedy: str) -> None:
    """Refuse a path that holds something else than a command reads.

    Args:
        path: path that the user gave; a missing one, or one of an unknown kind, is left to the reader.
        kind: what the command reads, such as ``BUNDLE``.
        remedy: what to set.

    Raises:
        ValueError: the path is of another kind.
    """
    found = kind_of(path)
    # The reader of a bundle says what a folder lacks.
    if found not in ("", kind, _FOLDER if kind == BUNDLE else ""):
        raise ValueError(f"got {path.name or str(path)!r}, which is {found}, expected {kind}; {remedy}")


def kind_of(path: Path) -> str:
    """Return what a path holds, such as ``a bundle``; empty for a missing path or another kind of file."""
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        return ""
    if path.name in (_CONTENT, _SUMS) and _kind_of_folder(path.absolute().parent) == BUNDLE:
        return "a file of a bundle, not its folder"
    if path.suffix in (".yaml", ".yml", ".json"):
        return _kind_of_mapping(path)
    return _SUFFIXES.get(path.suffix.lower(), "")


def _kind_of_folder(folder: Path) -> str:
    if (folder / _CONTENT).is_file() and (folder / _SUMS).is_file():
        return BUNDLE
    return "a folder with a cohort.yaml" if (folder / "cohort.yaml").is_file() else _FOLDER


def _kind_of_mapping(path: Path) -> str:
    """Return what a YAML or JSON file holds, by its keys."""
    try:
        with path.open(encoding="utf-8") as stream:
            content = load_yaml(stream.read(_MAX_CHARACTERS), name=path.name, as_text=True)
    except (OSError, ValueError):
        return ""
    keys = set(content) if isinstance(content, dict) else set()
    found = next((kind for kind, wanted in _KEYS.items() if wanted <= keys), "")
    return found or (CONFIGURATION if keys & _CONFIGURATION_KEYS else "")
