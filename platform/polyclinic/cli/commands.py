"""The commands: where each is defined, and what it does. Modules are imported when their command runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from polyclinic.system.names import expected_name

_CONVENTION = """What a command reads comes first, by its place; all else is an option. Options are
written with dashes or underscores, and --config FILE reads them from a YAML file.
Every command has --quiet, for results and errors alone, and --log-level LEVEL (debug,
info, warning or error), for what else the terminal shows."""
_HELP = Path(__file__).parent / "help"


class Command(NamedTuple):
    """A function, and one line on what it does.

    Attributes:
        module: module of the function.
        function: ``main``, which takes the words of the command line from the name of the command on, or another
            function, whose parameters are those of the command.
        summary: what the command does.
    """

    module: str
    function: str
    summary: str


COMMANDS = {
    "demo": Command("polyclinic.cli.demo.command", "demo", "train on synthetic patients and show the result"),
    "new": Command("polyclinic.cli.new", "new", "write a commented configuration for a cohort"),
    "fit": Command("polyclinic.cli.fit", "main", "train a task on a cohort"),
    "validate": Command("polyclinic.cli.fit", "main", "run the validation of a checkpoint"),
    "test": Command("polyclinic.cli.fit", "main", "run the test of a masked run"),
    "sweep": Command("polyclinic.cli.sweep", "main", "tune settings over runs of fit"),
    "crossval": Command("polyclinic.cli.crossval", "main", "train and test on every fold of a cohort"),
    "predict": Command("polyclinic.cli.predict", "predict", "write imputed modalities, embeddings or logits"),
    "cohort phantom": Command("polyclinic.cli.cohort", "phantom", "write a synthetic cohort"),
    "cohort build": Command("polyclinic.cli.cohort_build", "main", "build a cohort from a public data set"),
    "cohort scan": Command("polyclinic.cli.cohort_scan", "scan", "propose a cohort from a folder of hospital files"),
    "cohort ward": Command("polyclinic.cli.cohort_ward", "ward", "read FHIR, HL7 v2 and DICOM reports of a ward"),
    "cohort add": Command("polyclinic.cli.cohort_scan", "add", "join a table to a cohort"),
    "cohort check": Command("polyclinic.cli.cohort", "check", "validate a cohort, and read every file once"),
    "cohort overlap": Command("polyclinic.cli.cohort", "overlap", "find studies that two cohorts share"),
    "cohort events": Command("polyclinic.cli.cohort_events", "events", "write a cohort as a MEDS dataset"),
    "evaluate zeroshot": Command("polyclinic.cli.evaluate.zeroshot", "zeroshot", "classify findings from prompts"),
    "evaluate retrieval": Command("polyclinic.cli.evaluate.retrieval", "retrieval", "retrieve one modality by others"),
    "evaluate linkage": Command("polyclinic.cli.evaluate.linkage", "linkage", "recognise files of the same patient"),
    "evaluate classifier": Command("polyclinic.cli.evaluate.classifier", "classifier", "measure a trained head"),
    "evaluate baseline": Command("polyclinic.cli.evaluate.baseline", "baseline", "compare with simple models"),
    "evaluate reconstruction": Command(
        "polyclinic.cli.evaluate.reconstruction", "reconstruction", "measure a masked autoencoder"
    ),
    "evaluate probe": Command("polyclinic.cli.evaluate.probe", "probe", "probe a frozen encoder for findings"),
    "evaluate card": Command("polyclinic.cli.evaluate.card", "card", "write an evaluation card"),
    "bundle export": Command("polyclinic.cli.export", "export", "write a classifier as a bundle"),
    "bundle verify": Command("polyclinic.cli.bundle", "verify", "check every byte, key and number of a bundle"),
    "bundle register": Command("polyclinic.cli.register", "register", "register a bundle in MLflow"),
    "score": Command("polyclinic.cli.score", "main", "score the files of a study, or a cohort"),
    "serve": Command("polyclinic.cli.serve", "main", "serve a bundle to browsers and programs"),
    "audit": Command("polyclinic.cli.audit", "audit", "check the audit log of a service"),
    "deidentify": Command("polyclinic.cli.deidentify", "main", "remove identifiers from a cohort"),
    "runs": Command("polyclinic.cli.runs", "runs", "open the runs in the MLflow UI"),
    "tracking send": Command("polyclinic.cli.tracking", "send", "send entries that MLflow missed"),
    "completion": Command("polyclinic.cli.completion", "completion", "complete commands and options in a shell"),
    "modalities": Command("polyclinic.cli.doctor", "modalities", "list the installed plugins"),
    "doctor": Command("polyclinic.cli.doctor", "doctor", "report on this machine and its installation"),
}

GROUPS = {
    "cohort": "write, build, scan, check, compare and export cohorts",
    "evaluate": "measure a checkpoint",
    "bundle": "export, verify or register a classifier",
    "tracking": "repair the record of runs",
}
"""What the commands that begin with the same word do."""


def usage(group: str = "") -> str:
    """Return the list of all commands, or of those that begin with a word; empty if it is not such a word."""
    if group and group not in GROUPS:
        return ""
    if group:
        entries = {name.partition(" ")[2]: each.summary for name, each in COMMANDS.items() if _first(name) == group}
    else:
        entries = {_first(name): GROUPS.get(_first(name), each.summary) for name, each in COMMANDS.items()}
    prog = f"polyclinic {group}".strip()
    lines = "\n".join(f"  {name:<16}{summary}" for name, summary in entries.items())
    return f"usage: {prog} COMMAND ...\n\n{lines}\n\n{_CONVENTION}\nsee {prog} COMMAND --help\n"


def help_text(name: str) -> str:
    """Return the help of a command as it was written by ``tests/support/write_help.py``; empty for other words.

    The parser of a command takes seconds to import what its options name. A test compares the files with the parsers.
    """
    return path.read_text(encoding="utf-8") if (path := help_file(name)).is_file() else ""


def help_file(name: str) -> Path:
    """Return the file with the help of a command."""
    return _HELP / f"{name.replace(' ', '_')}.txt" if name in COMMANDS else Path()


def split_command(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name of the command and the words that follow.

    Raises:
        ValueError: the first words are not a command.
    """
    for length in (2, 1):
        if (name := " ".join(argv[:length])) in COMMANDS:
            return name, list(argv[length:])
    group, *words = argv
    known = {_first(name) for name in COMMANDS} | {"--help", "--version"}
    if group in GROUPS:
        known = {name.partition(" ")[2] for name in COMMANDS if _first(name) == group}
    word = words[0] if group in GROUPS else group
    place = f"polyclinic {group}" if group in GROUPS else "polyclinic"
    raise ValueError(f"got command {word!r}, {expected_name(word, sorted(known))}; see {place} --help")


def _first(name: str) -> str:
    return name.partition(" ")[0]
