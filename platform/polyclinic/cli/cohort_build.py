"""``polyclinic cohort build NAME``: options of the builder beside those of every build."""

import inspect
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from polyclinic.cohort.build.build import build_cohort
from polyclinic.cohort.build.builder import CohortBuilder, installed_builders
from polyclinic.cohort.cohort import SPLITS
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console

_DESCRIPTION = """Build a cohort from a public data set as it lies on disk:
polyclinic cohort build ptbxl --root physionet/ptb-xl --out cohorts/ptbxl"""


def main(argv: Sequence[str]) -> None:
    """Parse what follows ``polyclinic cohort build``, and build.

    Raises:
        ValueError: an unknown builder or setting, or see ``build_cohort``.
    """
    builders = installed_builders()
    parser = ArgumentParser(prog="polyclinic cohort build", description=_DESCRIPTION, exit_on_error=False)
    subcommands = parser.add_subcommands(dest="name")
    for name, builder in builders.items():
        options = ArgumentParser(description=_said(builder), exit_on_error=False)
        options.add_argument("--root", type=Path, required=True, help="folder of the data set; it is never written to")
        options.add_argument("--out", type=Path, required=True, help="a new folder outside of the root")
        options.add_argument("--workers", type=int, default=2, help="threads of queries, processes that look at files")
        options.add_argument("--memory", type=str, default="4GB", help="most that queries hold at once")
        options.add_class_arguments(builder)
        subcommands.add_subcommand(name, options)
    chosen = parser.parse_args(list(argv))
    given = chosen[chosen.name]
    settings = parser.instantiate_classes(chosen)[chosen.name]
    common = ("root", "out", "workers", "memory", "config")
    own = {key: value for key, value in vars(settings).items() if key not in common}
    path, cohort, flow = build_cohort(
        builders[chosen.name](**own),
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
        console.print("unverified facts of the layout are listed in build-report.json")
    print_next("polyclinic", "cohort", "check", path)


def _said(builder: type[CohortBuilder]) -> str:
    return (inspect.getdoc(builder) or "").partition("\nArgs:")[0].strip()
