"""``polyclinic cohort build NAME``: common options, and those of the builder."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyclinic.cli.parser import Parser, entry, summary
from polyclinic.cohort.build.build import build_cohort
from polyclinic.cohort.build.builder import CohortBuilder, installed_builders
from polyclinic.cohort.cohort import SPLITS
from polyclinic.files.results import refuse_used_folder
from polyclinic.system.names import refuse_unknown
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console

_PROG = "polyclinic cohort build"


def main(argv: Sequence[str]) -> None:
    """Parse the words from ``build`` on, and build the cohort.

    Raises:
        ValueError: the builder or a setting is unknown, or ``build_cohort`` refuses the data set.
    """
    builders = installed_builders()
    name, *words = argv[1:] or [""]
    if name in ("-h", "--help"):
        print_build_help(builders)
        return
    refuse_unknown("data set", [name], sorted(builders), f"see {_PROG} --help")
    parser = _parser(name, builders[name])
    given = parser.parse_args(words)
    settings = parser.instantiate_classes(given)
    common = ("root", "out", "workers", "memory", "config")
    own_settings = {key: value for key, value in vars(settings).items() if key not in common}
    refuse_used_folder(given.out)
    path, cohort, flow = build_cohort(
        builders[name](**own_settings),
        name=name,
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
    if builders[name].unverified:
        console.print("build-report.json lists assumptions about the layout that were not verified")
    print_next("polyclinic", "cohort", "check", path)


def print_build_help(builders: Mapping[str, type[CohortBuilder]]) -> None:
    """List the data sets."""
    lines = [entry(name, summary(_description(builder))) for name, builder in builders.items()]
    print(  # noqa: T201
        f"usage: {_PROG} NAME --root FOLDER --out FOLDER [options]\n\n"
        "Build a cohort from a public data set in its original folder layout.\n\n" + "\n".join(lines) + "\n\n"
        f"see {_PROG} NAME --help\n\nexample: {_PROG} ptbxl --root physionet/ptb-xl --out cohorts/ptbxl"
    )


def _parser(name: str, builder: type[CohortBuilder]) -> Parser:
    parser = Parser(prog=f"{_PROG} {name}", text=_description(builder))
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set; it is never written to")
    parser.add_argument("--out", type=Path, required=True, help="new folder outside the root")
    parser.add_argument(
        "--workers", type=int, default=2, help="number of query threads, and of processes that inspect files"
    )
    parser.add_argument("--memory", type=str, default="4GB", help="memory limit of queries")
    parser.add_class_arguments(builder, as_group=False)
    return parser


def _description(builder: type[CohortBuilder]) -> str:
    """Return the docstring of a builder without its arguments, which the parser lists."""
    return (inspect.getdoc(builder) or "").partition("\nArgs:")[0].strip()
