"""The demo's bundle, which benchmarks of the service use; it is created if it does not exist."""

import json
from pathlib import Path

from polyclinic.cli import main as polyclinic
from polyclinic.cli.demo.inputs import RECIPES

DEMO = Path("demo")
PROMPTS = RECIPES / "prompts.yaml"


def demo_checkpoint() -> Path:
    """Return the demo's Symile checkpoint; create its cohort and its run if they do not exist."""
    record = DEMO / "symile.json"
    if not record.exists():
        if not (DEMO / "cohort" / "cohort.yaml").exists():
            _run("cohort", "phantom", DEMO / "cohort", "--studies", 3000, "--seed", 0)
        _run("fit", "-c", RECIPES / "symile.yaml", "--json", record)
    return Path(json.loads(record.read_text(encoding="utf-8"))["checkpoint"])


def exported(out: Path, *words: object) -> Path:
    """Export the demo's bundle to a folder and return the folder."""
    _run("bundle", "export", demo_checkpoint(), "--prompts", PROMPTS, "--out", out, *words)
    return out


def _run(*words: object) -> None:
    if polyclinic([str(word) for word in words]):
        raise RuntimeError(f"polyclinic {words[0]} failed; see above")
