"""``polyclinic audit``: whether a log is whole, and when a file was scored."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import auto_cli

from polyclinic.deploy.service.audit_reading import entries_of, verified
from polyclinic.system.terminal import Console


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    auto_cli(audit, args=list(argv[1:]), prog="polyclinic audit", exit_on_error=False)


def audit(log: Path, find: Path | None = None, expect: str | None = None) -> None:
    """Check the audit log of a service: polyclinic audit audit.jsonl

    Args:
        log: of ``polyclinic serve``.
        find: a file; says in which requests it was.
        expect: a head that was noted before, which must be in the log still: lines cut off at the end break no chain.
    """
    console = Console(highlight=False)
    chain = verified(log, expect=expect)
    console.print(f"whole: {chain.lines} lines, {chain.number} requests\nhead {chain.head}", soft_wrap=True)
    if find is not None:
        found = list(entries_of(log, find))
        for place, told in found:
            message = f"line {place}: request {told['number']} at {told['time']}, status {told['status']}"
            console.print(message, markup=False, soft_wrap=True)
        if not found:
            raise ValueError("the file is in no request of this log")
    console.print("next: keep the head where the service cannot write, and give it to --expect later", soft_wrap=True)
