"""``polyclinic deidentify``: a cohort without what names its patients."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from rich.table import Table
from rich.text import Text

from polyclinic.cli.cohort import configured, make_room
from polyclinic.cohort.cohort import adapt_modalities, read_cohort
from polyclinic.cohort.deidentify.cohort import deidentify_cohort
from polyclinic.cohort.phantom import default_modalities
from polyclinic.modality import Deidentifiable, Modality
from polyclinic.privacy.identity import read_key
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console

_DESCRIPTION = """Write a cohort without what names its patients:
polyclinic deidentify cohort.yaml outside --key KEYFILE
Ids and UIDs are mapped and dates moved by a secret key, which stays in the hospital. It is no clearance: names in
running text that nothing around shows to be names are found by a model alone (`--ner`), voices and faces not at all."""


def main(argv: Sequence[str]) -> None:
    """Parse the command line and write the cohort.

    Raises:
        ValueError: see ``read_key`` and ``deidentify_cohort``.
    """
    parser = ArgumentParser(prog="polyclinic deidentify", description=_DESCRIPTION, exit_on_error=False)
    parser.add_argument("cohort", type=Path, help="a cohort.yaml")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--key", type=Path, required=True, help="file with a secret of 32 bytes or more")
    parser.add_argument(
        "--experiment", type=Path | None, default=None, help="configuration whose `data.modalities` say how to read"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that clean")
    parser.add_argument("--max-refused", type=float, default=0.05, help="largest share of sources left out as missing")
    parser.add_argument(
        "--keep-suspects", action="store_true", help="let pass images with what looks like words, after a look at them"
    )
    parser.add_argument(
        "--burned-in",
        choices=("refuse", "redact"),
        default="refuse",
        help="what becomes of an image with what looks like words: left out, or written with them blacked out",
    )
    parser.add_argument("--json", type=Path | None, default=None, help="file to write the result to")
    parser.add_argument(
        "--ner", type=Path | None, default=None, help="local folder of a token classifier that finds names in texts"
    )
    given = parser.parse_args(list(argv[1:]))
    if given.json is not None and not given.json.resolve().is_relative_to(given.out.resolve()):
        make_room(given.json)
    key = read_key(given.key)
    cohort = read_cohort(given.cohort)
    modalities = configured(given.experiment) if given.experiment else default_modalities(cohort.modalities)
    for left_out in adapt_modalities(cohort, modalities):
        Console().print(f"note: {left_out}", soft_wrap=True, markup=False)
    if given.ner is not None:
        _use_name_tagger(modalities, given.ner)
    told = deidentify_cohort(
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
        given.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    _show(told, Console())
    print_next("polyclinic", "cohort", "check", given.out / "cohort.yaml")


def _use_name_tagger(modalities: Mapping[str, Modality], folder: Path) -> None:
    able = [plugin for plugin in modalities.values() if isinstance(plugin, Deidentifiable)]
    reading = [plugin for plugin in able if plugin.use_name_tagger(folder)]
    if not reading:
        raise ValueError(f"none of the modalities {list(modalities)} reads text; leave out `--ner`")


def _show(told: Mapping[str, Any], console: Console) -> None:
    table = Table("of", "rule that removed or changed something", "times")
    table.columns[2].justify = "right"
    for name, kinds in told["removed"].items():
        for kind, count in kinds.items():
            table.add_row(Text(name), Text(kind), str(count))
    console.print(table)
    found = ", ".join(f"{count} in {name}" for name, count in told["names_found"].items())
    console.print(f"names and numbers looked for: {found or 'none'}", soft_wrap=True, markup=False)
    columns = told["columns"]
    dropped = [*columns["dropped"], *(["one whose name identifies"] * columns["dropped_unnamed"])]
    console.print(f"columns dropped: {', '.join(dropped) or 'none'}", soft_wrap=True, markup=False)
    for group in columns["groups_of_births"]:
        message = f"group {group!r} dropped, as it holds dates or years of birth; give an age in its place"
        console.print(message, soft_wrap=True, markup=False)
    for entry in told["refused"]:
        message = f"left out: {len(entry['studies'])} of {entry['modality']}: {entry['reason']}"
        console.print(message, soft_wrap=True, markup=False)
    console.print(f"{told['studies']} studies of {told['patients']} patients written", highlight=False)
