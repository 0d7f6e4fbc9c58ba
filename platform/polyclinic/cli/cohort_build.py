"""``polyclinic cohort build NAME``: common options, and those of the builder."""

import inspect
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from polyclinic.cohort.build.build import build_cohort
from polyclinic.cohort.build.builder import CohortBuilder, installed_builders
from polyclinic.cohort.cohort import SPLITS
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console

_DESCRIPTION = """Build a cohort from a public data set in its original folder layout:
polyclinic cohort build ptbxl --root physionet/ptb-xl --out cohorts/ptbxl"""


def main(argv: Sequence[str]) -> None:
    """Parse the words after ``polyclinic cohort build``, and build the cohort.

    Raises:
        ValueError: the builder or a setting is unknown, or ``build_cohort`` refuses the data set.
    """
    builders = installed_builders()
    parser = ArgumentParser(prog="polyclinic cohort build", description=_DESCRIPTION, exit_on_error=False)
    subcommands = parser.add_subcommands(dest="name")
    for name, builder in builders.items():
        options = ArgumentParser(description=_description(builder), exit_on_error=False)
        options.add_argument("--root", type=Path, required=True, help="folder of the data set; it is never written to")
        options.add_argument("--out", type=Path, required=True, help="new folder outside the root")
        options.add_argument(
            "--workers", type=int, default=2, help="number of query threads, and of processes that inspect files"
        )
        options.add_argument("--memory", type=str, default="4GB", help="memory limit of queries")
        options.add_class_arguments(builder)
        subcommands.add_subcommand(name, options)
    chosen = parser.parse_args(list(argv))
    given = chosen[chosen.name]
    settings = parser.instantiate_classes(chosen)[chosen.name]
    common = ("root", "out", "workers", "memory", "config")
    own_settings = {key: value for key, value in vars(settings).items() if key not in common}
    path, cohort, flow = build_cohort(
        builders[chosen.name](**own_settings),
        name=chosen.name,
        root=given.root,
        out=given.out,
        workers=given.workers,
        memory=given.memory,
    )
    console = Console()
    flow.show(console)
    sizes = ", ".join(f"{len(cohort.split(split)):,} {split}" for split in SPLITS)
    present = ", ".join(f"{modality} {share:.0%}" for modality, share in cohort.present_share().items())
    console.print(f"{len(cohort.studies):,} studies ({sizes}); present: {present}", highlight=False)
    if builders[chosen.name].unverified:
        console.print("build-report.json lists assumptions about the layout that were not verified")
    print_next("polyclinic", "cohort", "check", path)


def _description(builder: type[CohortBuilder]) -> str:
    """Return the docstring of a builder without its arguments, which the parser lists."""
    return (inspect.getdoc(builder) or "").partition("\nArgs:")[0].strip()
