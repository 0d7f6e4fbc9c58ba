"""What a demo starts from: a synthetic cohort, and configurations that a user can run and change."""

import json
import re
import shlex
from pathlib import Path

from polyclinic.cli.demo.steps import Step, run_steps
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.system.terminal import Console

RECIPES = Path(__file__).parent
"""The folder of the configurations and prompts."""


def copy_recipe(name: str, out: Path) -> Path:
    """Copy a configuration or the prompts into the folder of a demo, with its paths, and return the copy."""
    text = (RECIPES / name).read_text(encoding="utf-8")
    text = re.sub(r"(?<=-c )demo/(\S+)", lambda path: shlex.quote((out / path[1]).as_posix()), text)
    text = re.sub(r"(?<=: )demo/([\w./]+)", lambda path: _yaml_string((out / path[1]).as_posix()), text)
    copy = out / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(text, encoding="utf-8")
    return copy


def _yaml_string(path: str) -> str:
    """Return a path as YAML reads it: as it is, or in quotes where `, ` or `: ` would end it."""
    return path if re.fullmatch(r"[\w./-]+", path) else json.dumps(path, ensure_ascii=False)


def make_cohort(out: Path, *, studies: int, seed: int, modalities: list[str] | None, console: Console) -> Path:
    """Return the synthetic cohort of a demo's folder, written by the first call.

    Raises:
        ValueError: the folder holds a cohort of another size or seed.
    """
    folder = out / "cohort"
    if not (folder / "cohort.yaml").exists():
        words = ["cohort", "phantom", folder, "--studies", studies, "--seed", seed]
        chosen = [] if modalities is None else ["--modalities", f"[{', '.join(modalities)}]"]
        step = Step("write synthetic studies", [*words, *chosen])
        run_steps([step], out, console, preload=("polyclinic.cli.fit", "polyclinic.cli.export"))
    refuse_other_cohort(folder, studies=studies, seed=seed)
    return folder / "cohort.yaml"


def refuse_other_cohort(folder: Path, *, studies: int, seed: int) -> None:
    """Refuse a synthetic cohort of another size or seed.

    Raises:
        ValueError: the record of the cohort names other numbers, or is missing.
    """
    expected, record = {"studies": studies, "seed": seed}, folder / "phantom.yaml"
    written = load_yaml(record.read_bytes(), name=str(record)) if record.exists() else {}
    found = {key: written.get(key, "unknown") for key in expected}
    if found != expected:
        raise ValueError(f"got {folder} with {found}, expected {expected}; remove it, or set `--out` to another folder")
