"""``polyclinic deidentify``: write a cohort without the identifiers of its patients."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from polyclinic.cli.cohort import configured
from polyclinic.cli.parser import Parser
from polyclinic.cohort.cohort import adapt_modalities, read_cohort
from polyclinic.cohort.deidentify.cohort import deidentify_cohort
from polyclinic.cohort.phantom import default_modalities
from polyclinic.files.results import refuse_unwritable, refuse_used_folder, write_result
from polyclinic.modality import Deidentifiable, Modality
from polyclinic.privacy.identity import read_key
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console, remark

_DESCRIPTION = """Write a cohort without identifiers of patients: polyclinic deidentify cohort.yaml out --key key.txt

A secret key, which stays in the hospital, maps ids and UIDs and shifts dates. The result is not cleared for release:
names in free text without a cue are found only by a model (`--ner`), and voices and faces are not removed."""


def main(argv: Sequence[str]) -> None:
    """Parse the command line and write the cohort.

    Raises:
        ValueError: the result cannot be written, or see ``read_key`` and ``deidentify_cohort``.
    """
    parser = Parser(prog="polyclinic deidentify", text=_DESCRIPTION)
    parser.add_argument("cohort", type=Path, help="path of a cohort.yaml")
    parser.add_argument("out", type=Path, help="new folder for the cohort")
    parser.add_argument("--key", type=Path, required=True, help="file with a secret of 32 bytes or more")
    parser.add_argument(
        "--experiment", type=Path | None, default=None, help="configuration whose `data.modalities` set the plugins"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of worker processes")
    parser.add_argument("--max-refused", type=float, default=0.05, help="largest share of sources that may be omitted")
    parser.add_argument(
        "--keep-suspects", type=bool, default=False, help="keep images that seem to contain text; review them first"
    )
    parser.add_argument(
        "--burned-in",
        choices=("refuse", "redact"),
        default="refuse",
        help="treatment of images that seem to contain text: omit them, or black the text out",
    )
    parser.add_argument("--json", type=Path | None, default=None, help="file for the result")
    parser.add_argument(
        "--ner", type=Path | None, default=None, help="local folder of a token classifier that finds names in texts"
    )
    given = parser.parse_args(list(argv[1:]))
    refuse_unwritable(given.json)
    refuse_used_folder(given.out, "out")
    key = read_key(given.key)
    cohort = read_cohort(given.cohort)
    modalities = configured(given.experiment) if given.experiment else default_modalities(cohort.modalities)
    for note in adapt_modalities(cohort, modalities):
        remark(f"note: {note}")
    if given.ner is not None:
        _use_name_tagger(modalities, given.ner)
    report = deidentify_cohort(
        given.cohort,
        given.out,
        key=key,
        modalities=modalities,
        workers=given.workers,
        max_refused=given.max_refused,
        suspects=given.keep_suspects,
        redact=given.burned_in == "redact",
    )
    if given.json is not None:
        write_result(given.json, report)
    _print_report(report, Console())
    print_next("polyclinic", "cohort", "check", given.out / "cohort.yaml")


def _use_name_tagger(modalities: Mapping[str, Modality], folder: Path) -> None:
    plugins = [plugin for plugin in modalities.values() if isinstance(plugin, Deidentifiable)]
    if not [plugin for plugin in plugins if plugin.use_name_tagger(folder)]:
        raise ValueError(f"none of the modalities {list(modalities)} reads text; remove `--ner`")


def _print_report(report: Mapping[str, Any], console: Console) -> None:
    table = Table("source", "rule", "changes")
    table.columns[2].justify = "right"
    for name, kinds in report["removed"].items():
        for kind, count in kinds.items():
            table.add_row(Text(name), Text(kind), str(count))
    console.print(table)
    names = ", ".join(f"{count} in {name}" for name, count in report["names_found"].items())
    console.print(f"names and numbers found: {names or 'none'}", soft_wrap=True, markup=False)
    columns = report["columns"]
    dropped = [*columns["dropped"], *(["a column whose name identifies"] * columns["dropped_unnamed"])]
    console.print(f"columns dropped: {', '.join(dropped) or 'none'}", soft_wrap=True, markup=False)
    for group in columns["groups_of_births"]:
        message = f"group {group!r} dropped, as it holds dates or years of birth; use an age instead"
        console.print(message, soft_wrap=True, markup=False)
    for entry in report["refused"]:
        message = f"omitted: {len(entry['studies'])} of {entry['modality']}: {entry['reason']}"
        console.print(message, soft_wrap=True, markup=False)
    console.print(f"{report['studies']} studies of {report['patients']} patients written", highlight=False)
