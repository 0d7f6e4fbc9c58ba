"""Steps that the experiments share: run polyclinic commands, and read the reports that they write."""

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from polyclinic.cli import main as polyclinic
from polyclinic.cli.demo.inputs import refuse_other_cohort


def phantom_parser(description: str | None, *, out: str, seed: int = 0) -> ArgumentParser:
    """Return a parser of the output folder, the number of synthetic studies and the seed.

    Args:
        description: docstring of the experiment.
        out: default output folder.
        seed: default seed.
    """
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--studies", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=seed)
    return parser


def run_command(*words: object) -> None:
    """Run one polyclinic command; exit with its code if it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ polyclinic {' '.join(arguments)}", flush=True)
    if code := polyclinic(arguments):
        sys.exit(code)


def run_for_report(result: Path, *words: object, reuse: bool = False) -> dict[str, Any]:
    """Run one polyclinic command with ``--json`` and return its report.

    Args:
        result: JSON file that the command writes.
        words: command line, without ``--json``.
        reuse: return the report of an earlier run if ``result`` exists.
    """
    if not (reuse and result.exists()):
        run_command(*words, "--json", result)
    report: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return report


def fit(
    config: Path, cohort: Path, result: Path, *words: object, logs: Path, seed: int | None = None, reuse: bool = False
) -> dict[str, Any]:
    """Train one recipe and return the report of ``fit --json``.

    Args:
        config: YAML file of the recipe.
        cohort: ``cohort.yaml`` file.
        result: JSON file of the report.
        words: further options of ``polyclinic fit``.
        logs: output folder of the run logger.
        seed: random seed; None for the seed of the recipe.
        reuse: return the report of an earlier run if ``result`` exists.
    """
    seeded = () if seed is None else ("--seed_everything", seed)
    return run_for_report(
        result, "fit", "-c", config, *seeded, "--data.cohort", cohort, "--trainer.logger.init_args.out", logs, *words,
        reuse=reuse,
    )  # fmt: skip


def evaluate(result: Path, kind: str, checkpoint: object, *words: object, reuse: bool = False) -> dict[str, Any]:
    """Run one evaluation, such as ``zeroshot``, and return its report.

    Args:
        result: JSON file of the report.
        kind: subcommand of ``polyclinic evaluate``.
        checkpoint: path of the checkpoint.
        words: further options of the subcommand.
        reuse: return the report of an earlier run if ``result`` exists.
    """
    return run_for_report(result, "evaluate", kind, checkpoint, *words, reuse=reuse)


def write_report(report: dict[str, Any], out: Path) -> Path:
    """Write ``report.json`` to a folder and return its path."""
    path = out / "report.json"
    path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return path


def phantom_cohort(out: Path, *, studies: int, seed: int) -> Path:
    """Return the phantom cohort of an output folder, written on the first call.

    Exits if the folder holds a cohort of another size or seed.
    """
    folder = out / "cohort"
    if not (folder / "cohort.yaml").exists():
        out.mkdir(parents=True, exist_ok=True)
        run_command("cohort", "phantom", folder, "--studies", studies, "--seed", seed)
    try:
        refuse_other_cohort(folder, studies=studies, seed=seed)
    except ValueError as error:
        sys.exit(str(error))
    return folder / "cohort.yaml"
