"""The bundle that what serves is measured with: that of the demo, made where it is not there yet."""

import json
from pathlib import Path

from polyclinic.cli import main as polyclinic

DEMO = Path("demo")
PROMPTS = Path("experiments/phantom/prompts.yaml")


def demo_checkpoint() -> Path:
    """The demo's Symile checkpoint; its cohort and its run are made as the demo makes them unless they are there."""
    told = DEMO / "symile.json"
    if not told.exists():
        if not (DEMO / "cohort" / "cohort.yaml").exists():
            _run("cohort", "phantom", DEMO / "cohort", "--studies", 3000, "--seed", 0)
        _run("fit", "-c", "experiments/phantom/symile.yaml", "--json", told)
    return Path(json.loads(told.read_text(encoding="utf-8"))["checkpoint"])


def exported(out: Path, *words: object) -> Path:
    """A bundle of it."""
    _run("bundle", "export", "--checkpoint", demo_checkpoint(), "--prompts", PROMPTS, "--out", out, *words)
    return out


def _run(*words: object) -> None:
    if polyclinic([str(word) for word in words]):
        raise RuntimeError(f"polyclinic {words[0]} failed; see above")
