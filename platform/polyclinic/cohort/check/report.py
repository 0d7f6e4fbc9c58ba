"""What a check found, for people and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from polyclinic.cohort.check.inspect import SEVERITIES, Distribution, Found, ModalityCheck
from polyclinic.cohort.check.labels import LabelCheck, check_labels
from polyclinic.cohort.cohort import SPLITS, Cohort
from polyclinic.modality import Severity

_SHOWN = 5
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def all_checks(cohort: Cohort, checks: Mapping[str, ModalityCheck]) -> dict[str, ModalityCheck | LabelCheck]:
    """The checks of the modalities and those of the labels, under names that do not collide."""
    return {**checks, **{f"label {name}": one for name, one in check_labels(cohort).items()}}


def worst_of(checks: Mapping[str, ModalityCheck | LabelCheck]) -> Severity | None:
    """The worst severity that any modality or label has; None where nothing was found."""
    return next((s for s in SEVERITIES if s in {check.severity for check in checks.values()}), None)


def check_as_json(cohort: Cohort, checks: Mapping[str, ModalityCheck]) -> dict[str, Any]:
    """Everything that was found, as plain JSON values; every unreadable study and every duplicate by its id."""
    return {
        "fingerprint": cohort.fingerprint,
        "severity": worst_of(all_checks(cohort, checks)) or "none",
        "modalities": {name: asdict(check) for name, check in checks.items()},
        "labels": {name: asdict(check) for name, check in check_labels(cohort).items()},
    }


def worst_sentence(checks: Mapping[str, ModalityCheck | LabelCheck]) -> str:
    """How many sources do not decode, how many kinds of issue there are, and which is the worst; empty for none.

    Unreadable sources are an error, and so the worst where no other error is found in more studies.
    """
    lost = {name: one.present - one.readable for name, one in checks.items() if isinstance(one, ModalityCheck)}
    found = [(one.severity, one.count, name, one.code) for name, check in checks.items() for one in check.issues]
    parts = [f"{_counted(sum(lost.values()), 'source')} unreadable"] if any(lost.values()) else []
    for severity in SEVERITIES:
        if kinds := sum(one[0] == severity for one in found):
            parts.append(_counted(kinds, severity))
    found = [("error", count, name, "unreadable") for name, count in lost.items() if count] + found
    if not found:
        return ""
    _, count, name, code = min(found, key=lambda one: (SEVERITIES.index(one[0]), -one[1]))
    return f"{', '.join(parts)}; {name} has the worst, {code}, in {_counted(count, 'study')}"


def print_check(cohort: Cohort, checks: Mapping[str, ModalityCheck], console: Console) -> None:
    """Show the cohort, the facts of its modalities, and what is wrong with them."""
    sizes = ", ".join(f"{len(cohort.split(split))} {split}" for split in SPLITS)
    patients = len({study.patient_id for study in cohort.studies})
    console.print(f"{len(cohort.studies)} studies of {patients} patients ({sizes}); no patient is in two splits")
    console.print(_facts(checks))
    if cohort.targets:
        console.print(_labels(check_labels(cohort)))
    every = all_checks(cohort, checks)
    if any(check.severity for check in every.values()):
        console.print(_issues(every))


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


def _spread(spread: Distribution) -> str:
    if spread.min == spread.max:
        return f"{spread.min:.4g}"
    return f"{spread.min:.4g} to {spread.max:.4g}, mean {spread.mean:.4g}"


def _labels(checks: Mapping[str, LabelCheck]) -> Table:
    """One row for each label, its counts by split."""
    table = Table("label", "known", "positive", "uncertain", "unknown", "found", title=f"labels ({' / '.join(SPLITS)})")
    for column in range(1, 5):
        table.columns[column].justify = "right"
    for name, check in checks.items():
        counts = [check.splits[split] for split in SPLITS]
        columns = [[getattr(one, kind) for one in counts] for kind in ("known", "positive", "uncertain", "unknown")]
        cells = [" / ".join("-" if number is None else str(number) for number in column) for column in columns]
        table.add_row(Text(name), *cells, Text(_found_of(check)))
    return table


def _found_of(check: LabelCheck) -> str:
    """Values of classes, levels and quantities in the training split, and cells that were not understood."""
    train = check.splits["train"]
    parts = [", ".join(f"{name} {count}" for name, count in train.names.items())] if train.names else []
    parts += [f"{train.range[0]:.4g} to {train.range[1]:.4g}"] if train.range else []
    if check.unnamed:
        shown = [f"{cell!r} ({count})" for cell, count in check.unnamed.items() if cell][:_SHOWN]
        rest = sum(check.unnamed.values()) - sum(
            check.unnamed[cell] for cell in list(filter(None, check.unnamed))[:_SHOWN]
        )
        parts.append("not named: " + ", ".join([*shown, *([f"{rest} others"] if rest else [])]))
    return "; ".join(parts)


def _issues(checks: Mapping[str, ModalityCheck | LabelCheck]) -> Table:
    table = Table("severity", "modality", "studies", "what, and in which studies", show_lines=True)
    table.columns[2].justify = "right"
    rows: list[tuple[Severity, str, int, Text]] = []
    for name, check in checks.items():
        for one in check.unreadable if isinstance(check, ModalityCheck) else ():
            message = f"{one.reason}; stored as {one.stored_as}" if one.stored_as else one.reason
            rows.append(("error", name, len(one.studies), _what("unreadable", message, _named(one.studies))))
        for found in check.issues:
            rows.append((found.severity, name, found.count, _what(found.code, found.message, _studies(check, found))))
    for severity, name, count, what in sorted(rows, key=lambda row: SEVERITIES.index(row[0])):
        table.add_row(Text(severity, _STYLES[severity]), Text(name), str(count), what)
    return table


def _studies(check: ModalityCheck | LabelCheck, found: Found) -> str:
    """Some of the studies; a modality's sentence is about the first."""
    first, *others = found.studies or [""]
    if isinstance(check, LabelCheck) or not others:
        return _named(found.studies, found.count - len(found.studies)) if found.studies else ""
    return f"said of {first}; also {_named(others, found.count - len(found.studies))}"


def _what(code: str, message: str, studies: str) -> Text:
    return Text.assemble((f"{code}: ", "bold"), message, (f"\n{studies}" if studies else "", "dim"))


def _named(studies: Sequence[str], more: int = 0) -> str:
    """A few ids, and how many there are beside them."""
    more += max(0, len(studies) - _SHOWN)
    return ", ".join(studies[:_SHOWN]) + (f" and {more} more" if more else "")


def _counted(count: int, noun: str) -> str:
    plural = "studies" if noun == "study" else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
