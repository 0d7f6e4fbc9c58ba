"""Isolation of the import path of this program and of its child processes.

Code is imported from the installation and from folders that the operator lists, never from the working folder, a
bundle or relative entries of ``PYTHONPATH``. Python puts the working folder first for ``python -m`` and ``python -c``,
and reads an empty or relative entry of ``PYTHONPATH`` as the working folder.

In an untrusted working folder, start the command ``polyclinic`` or ``python -P -m polyclinic``. Without ``-P``, Python
has already imported ``polyclinic`` and parts of the standard library (``runpy`` and its imports), with the working
folder first, before the first line of this module runs.

For the same reason this module imports only modules that are loaded when Python starts.
"""

import os
import site
import sys

OWN_FOLDERS = "POLYCLINIC_PATH"
"""Environment variable with the operator's class folders, searched last, separated as in ``PYTHONPATH``."""

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable of Python 3.11 and later that keeps the working folder out of ``sys.path``."""


def isolate() -> None:
    """Remove untrusted folders from ``sys.path``, for this process and its children.

    ``PYTHONPATH`` keeps its absolute entries, except the working folder and folders that hold a bundle. The function
    is idempotent.

    Raises:
        SystemExit: Python ignores environment variables (``-E``), which the isolation of child processes needs.
    """
    if not sys.flags.safe_path:
        if sys.flags.ignore_environment:
            raise SystemExit("error: got Python's option -E alone, expected -I, or -E with -P; set one of them")
        if not os.environ.get(SAFE_PATH) and sys.path[:1] and _is_working_folder(sys.path[0]):
            del sys.path[0]
    os.environ[SAFE_PATH] = "1"
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry) or _is_hook(entry)]
    _filter_pythonpath()
    listed = [os.path.abspath(entry) for entry in os.environ.get(OWN_FOLDERS, "").split(os.pathsep) if entry]
    sys.path += [entry for entry in listed if entry not in sys.path]


def _filter_pythonpath() -> None:
    given = os.environ.pop("PYTHONPATH", "")
    if not given:
        return
    entries = given.split(os.pathsep)
    trusted = [
        entry for entry in entries if os.path.isabs(entry) and not _is_working_folder(entry) and not _is_bundle(entry)
    ]
    if trusted:
        os.environ["PYTHONPATH"] = os.pathsep.join(trusted)
    dropped = {os.path.abspath(entry) for entry in entries if entry not in trusted}
    dropped -= {os.path.abspath(entry) for entry in trusted} | {os.path.dirname(os.path.abspath(os.__file__))}
    if dropped & set(sys.path):
        sys.path[:] = [entry for entry in sys.path if entry not in dropped]
        # A dropped folder may belong to the installation too; Python lists each folder only once, so add it again.
        site.addsitepackages(site.addusersitepackages({os.path.normcase(entry) for entry in sys.path}))


def _is_working_folder(entry: str) -> bool:
    try:
        return entry == "" or os.path.samefile(entry, os.curdir)
    except OSError:  # the entry or the working folder no longer exists
        return False


def _is_hook(entry: str) -> bool:
    """Return whether setuptools added the entry for an editable install."""
    return entry.startswith("__editable__.") and not os.path.exists(entry)


def _is_bundle(entry: str) -> bool:
    return os.path.isfile(os.path.join(entry, "bundle.json"))
