"""Report the results of a check, as text and as JSON."""

from collections import Counter
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

_MAX_SHOWN = 5
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def all_checks(cohort: Cohort, checks: Mapping[str, ModalityCheck]) -> dict[str, ModalityCheck | LabelCheck]:
    """Combine the checks of modalities and labels, under names that do not collide."""
    return {**checks, **{f"label {name}": check for name, check in check_labels(cohort).items()}}


def worst_of(checks: Mapping[str, ModalityCheck | LabelCheck]) -> Severity | None:
    """Return the worst severity of any modality or label; None where nothing was found."""
    found = {check.severity for check in checks.values()}
    return next((severity for severity in SEVERITIES if severity in found), None)


def check_as_json(cohort: Cohort, checks: Mapping[str, ModalityCheck]) -> dict[str, Any]:
    """Return all results as plain JSON values, with the id of every unreadable or duplicate study."""
    return {
        "fingerprint": cohort.fingerprint,
        "severity": worst_of(all_checks(cohort, checks)) or "none",
        "modalities": {name: asdict(check) for name, check in checks.items()},
        "labels": {name: asdict(check) for name, check in check_labels(cohort).items()},
    }


def worst_sentence(checks: Mapping[str, ModalityCheck | LabelCheck]) -> str:
    """Count unreadable sources and kinds of issue, and name the worst kind; empty where nothing was found.

    The worst kind is that of the worst severity in the most studies; unreadable sources are errors.
    """
    unreadable = {
        name: check.present - check.readable for name, check in checks.items() if isinstance(check, ModalityCheck)
    }
    issues = [
        (issue.severity, issue.count, name, issue.code) for name, check in checks.items() for issue in check.issues
    ]
    parts = [f"{_counted(sum(unreadable.values()), 'source')} unreadable"] if any(unreadable.values()) else []
    kinds = Counter(severity for severity, *_ in issues)
    parts += [_counted(kinds[severity], severity) for severity in SEVERITIES if kinds[severity]]
    issues = [("error", count, name, "unreadable") for name, count in unreadable.items() if count] + issues
    if not issues:
        return ""
    _, count, name, code = min(issues, key=lambda issue: (SEVERITIES.index(issue[0]), -issue[1]))
    return f"{', '.join(parts)}; {name} has the worst, {code}, in {_counted(count, 'study')}"


def print_check(cohort: Cohort, checks: Mapping[str, ModalityCheck], console: Console) -> None:
    """Print the size of the cohort, and tables of facts, labels and issues."""
    sizes = ", ".join(f"{len(cohort.split(split))} {split}" for split in SPLITS)
    patients = len({study.patient_id for study in cohort.studies})
    console.print(f"{len(cohort.studies)} studies of {patients} patients ({sizes}); no patient is in two splits")
    console.print(_facts(checks))
    if cohort.targets:
        console.print(_labels(check_labels(cohort)))
    with_labels = all_checks(cohort, checks)
    if any(check.severity for check in with_labels.values()):
        console.print(_issues(with_labels))


def _facts(checks: Mapping[str, ModalityCheck]) -> Table:
    table = Table("modality", "present", "readable", "fact", "found")
    for column in (1, 2):
        table.columns[column].justify = "right"
    for name, check in checks.items():
        facts = [(fact, _values(values)) for fact, values in check.texts.items()]
        facts += [(fact, _spread(spread)) for fact, spread in check.numbers.items()]
        head: list[str | Text] = [Text(name), str(check.present), str(check.readable)]
        for fact, value in facts or [("", "")]:
            table.add_row(*head, Text(fact), Text(value))
            head = ["", "", ""]
        table.add_section()
    return table


def _values(values: Mapping[str, int]) -> str:
    """Format the values of a text fact, most common first, with counts unless there is only one value."""
    if len(values) == 1:
        return next(iter(values))
    ordered = sorted(values.items(), key=lambda entry: (-entry[1], entry[0]))
    shown = ", ".join(f"{value} ({count})" for value, count in ordered[:_MAX_SHOWN])
    return shown + (f" and {len(ordered) - _MAX_SHOWN} more" if len(ordered) > _MAX_SHOWN else "")


def _spread(spread: Distribution) -> str:
    if spread.min == spread.max:
        return f"{spread.min:.4g}"
    return f"{spread.min:.4g} to {spread.max:.4g}, mean {spread.mean:.4g}"


def _labels(checks: Mapping[str, LabelCheck]) -> Table:
    """Make the table of labels, with the counts by split."""
    table = Table("label", "known", "positive", "uncertain", "unknown", "found", title=f"labels ({' / '.join(SPLITS)})")
    for column in range(1, 5):
        table.columns[column].justify = "right"
    for name, check in checks.items():
        counts = [check.splits[split] for split in SPLITS]
        columns = [[getattr(split, kind) for split in counts] for kind in ("known", "positive", "uncertain", "unknown")]
        cells = [" / ".join("-" if number is None else str(number) for number in column) for column in columns]
        table.add_row(Text(name), *cells, Text(_found_of(check)))
    return table


def _found_of(check: LabelCheck) -> str:
    """Format class counts or range in the training split, and cells that ``values`` does not list."""
    train = check.splits["train"]
    parts = [", ".join(f"{name} {count}" for name, count in train.names.items())] if train.names else []
    parts += [f"{train.range[0]:.4g} to {train.range[1]:.4g}"] if train.range else []
    if check.unnamed:
        shown = [f"{cell!r} ({count})" for cell, count in check.unnamed.items() if cell][:_MAX_SHOWN]
        rest = sum(check.unnamed.values()) - sum(
            check.unnamed[cell] for cell in list(filter(None, check.unnamed))[:_MAX_SHOWN]
        )
        parts.append("not named: " + ", ".join([*shown, *([f"{rest} others"] if rest else [])]))
    return "; ".join(parts)


def _issues(checks: Mapping[str, ModalityCheck | LabelCheck]) -> Table:
    table = Table("severity", "modality", "studies", "issue and affected studies", show_lines=True)
    table.columns[2].justify = "right"
    rows: list[tuple[Severity, str, int, Text]] = []
    for name, check in checks.items():
        for lost in check.unreadable if isinstance(check, ModalityCheck) else ():
            message = f"{lost.reason}; stored as {lost.stored_as}" if lost.stored_as else lost.reason
            cell = _description("unreadable", message, _named(lost.studies))
            rows.append(("error", name, len(lost.studies), cell))
        for found in check.issues:
            cell = _description(found.code, found.message, _studies(check, found))
            rows.append((found.severity, name, found.count, cell))
    for severity, name, count, cell in sorted(rows, key=lambda row: SEVERITIES.index(row[0])):
        table.add_row(Text(severity, _STYLES[severity]), Text(name), str(count), cell)
    return table


def _studies(check: ModalityCheck | LabelCheck, found: Found) -> str:
    """Name some of the studies; the message of a modality's issue describes the first."""
    first, *others = found.studies or [""]
    if isinstance(check, LabelCheck) or not others:
        return _named(found.studies, found.count - len(found.studies)) if found.studies else ""
    return f"describes {first}; also {_named(others, found.count - len(found.studies))}"


def _description(code: str, message: str, studies: str) -> Text:
    return Text.assemble((f"{code}: ", "bold"), message, (f"\n{studies}" if studies else "", "dim"))


def _named(studies: Sequence[str], more: int = 0) -> str:
    """List a few ids, and the number of further ones."""
    more += max(0, len(studies) - _MAX_SHOWN)
    return ", ".join(studies[:_MAX_SHOWN]) + (f" and {more} more" if more else "")


def _counted(count: int, noun: str) -> str:
    plural = "studies" if noun == "study" else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
