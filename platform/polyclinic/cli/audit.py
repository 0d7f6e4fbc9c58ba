"""``polyclinic audit``: check the integrity of an audit log, and find the requests with a file."""

from pathlib import Path

from polyclinic.deploy.service.audit_reading import entries_of, verified
from polyclinic.system.terminal import Console, remark


def audit(log: Path, find: Path | None = None, expect: str | None = None) -> None:
    """Check the audit log of a service: polyclinic audit audit.jsonl

    Args:
        log: audit log of ``polyclinic serve``.
        find: file whose requests to list.
        expect: earlier head that the log must still contain; the chain alone does not show lines removed at the end.

    Raises:
        ValueError: the chain is broken, the head is not in the log, or no request contains the file.
    """
    console = Console(highlight=False)
    chain = verified(log, expect=expect)
    console.print(f"intact: {chain.lines} lines, {chain.number} requests\nhead {chain.head}", soft_wrap=True)
    if find is not None:
        entries = list(entries_of(log, find))
        for number, entry in entries:
            message = f"line {number}: request {entry['number']} at {entry['time']}, status {entry['status']}"
            console.print(message, markup=False, soft_wrap=True)
        if not entries:
            raise ValueError("no request of this log contains the file; set `--find` to another")
    remark("next: store the head where the service cannot write, and pass it as --expect later")
