"""What a check found, for people and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from polyclinic.cohort.checking.tally import SEVERITIES, ModalityCheck, Spread
from polyclinic.cohort.cohort import SPLITS, Cohort
from polyclinic.modality import Severity

_SHOWN = 5
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def worst_of(checks: Mapping[str, ModalityCheck]) -> Severity | None:
    """The worst severity that any modality has; None where nothing was found."""
    return next((s for s in SEVERITIES if s in {check.severity for check in checks.values()}), None)


def check_as_json(cohort: Cohort, checks: Mapping[str, ModalityCheck]) -> dict[str, Any]:
    """Everything that was found, as plain JSON values; every unreadable study and every duplicate by its id."""
    return {
        "fingerprint": cohort.fingerprint,
        "severity": worst_of(checks) or "none",
        "modalities": {name: asdict(check) for name, check in checks.items()},
    }


def worst_sentence(checks: Mapping[str, ModalityCheck]) -> str:
    """How many sources do not decode, how many kinds of concern there are, and which is the worst; empty for none."""
    unreadable = sum(check.present - check.readable for check in checks.values())
    parts = [f"{_counted(unreadable, 'source')} unreadable"] if unreadable else []
    found = [(name, one) for name, check in checks.items() for one in check.concerns]
    for severity in SEVERITIES:
        if kinds := sum(one.severity == severity for _, one in found):
            parts.append(_counted(kinds, severity))
    if not found:
        return ", ".join(parts)
    name, worst = min(found, key=lambda entry: (SEVERITIES.index(entry[1].severity), -entry[1].count))
    return f"{', '.join(parts)}; {name} has the worst, {worst.code}, in {_counted(worst.count, 'study')}"


def print_check(cohort: Cohort, checks: Mapping[str, ModalityCheck], console: Console) -> None:
    """Show the cohort, the facts of its modalities, and what is wrong with them."""
    sizes = ", ".join(f"{len(cohort.split(split))} {split}" for split in SPLITS)
    patients = len({study.patient_id for study in cohort.studies})
    console.print(f"{len(cohort.studies)} studies of {patients} patients ({sizes}); no patient is in two splits")
    console.print(_facts(checks))
    if any(check.severity for check in checks.values()):
        console.print(_concerns(checks))


def _facts(checks: Mapping[str, ModalityCheck]) -> Table:
    table = Table("modality", "present", "readable", "fact", "found")
    for column in (1, 2):
        table.columns[column].justify = "right"
    for name, check in checks.items():
        told = [(fact, _values(values)) for fact, values in check.texts.items()]
        told += [(fact, _spread(spread)) for fact, spread in check.numbers.items()]
        head: list[str | Text] = [Text(name), str(check.present), str(check.readable)]
        for fact, found in told or [("", "")]:
            table.add_row(*head, Text(fact), Text(found))
            head = ["", "", ""]
        table.add_section()
    return table


def _values(values: Mapping[str, int]) -> str:
    """The commonest first; one value alone needs no count."""
    if len(values) == 1:
        return next(iter(values))
    ordered = sorted(values.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = ", ".join(f"{value} ({count})" for value, count in ordered[:_SHOWN])
    return shown + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")


def _spread(spread: Spread) -> str:
    if spread.min == spread.max:
        return f"{spread.min:.4g}"
    return f"{spread.min:.4g} to {spread.max:.4g}, mean {spread.mean:.4g}"


def _concerns(checks: Mapping[str, ModalityCheck]) -> Table:
    table = Table("severity", "modality", "studies", "what, and in which studies", show_lines=True)
    table.columns[2].justify = "right"
    rows: list[tuple[Severity, str, int, Text]] = []
    for name, check in checks.items():
        for one in check.unreadable:
            said = f"{one.reason}; stored as {one.stored_as}" if one.stored_as else one.reason
            rows.append(("error", name, len(one.studies), _what("unreadable", said, _named(one.studies))))
        for found in check.concerns:
            first, *others = found.studies
            more = found.count - len(found.studies)
            ids = f"said of {first}; also {_named(others, more)}" if others else first
            rows.append((found.severity, name, found.count, _what(found.code, found.said, ids)))
    for severity, name, count, what in sorted(rows, key=lambda row: SEVERITIES.index(row[0])):
        table.add_row(Text(severity, _STYLES[severity]), Text(name), str(count), what)
    return table


def _what(code: str, said: str, studies: str) -> Text:
    return Text.assemble((f"{code}: ", "bold"), said, (f"\n{studies}", "dim"))


def _named(studies: Sequence[str], more: int = 0) -> str:
    """A few ids, and how many there are beside them."""
    more += max(0, len(studies) - _SHOWN)
    return ", ".join(studies[:_SHOWN]) + (f" and {more} more" if more else "")


def _counted(count: int, noun: str) -> str:
    plural = "studies" if noun == "study" else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
