"""Which folders the program and the processes that it starts import from.

They import from the installation, and from folders that the operator named: never from the working folder, from a
bundle, or from what happens to lie in ``PYTHONPATH``. Python itself puts the working folder first for ``python -m`` and
``python -c``, and reads an empty or relative entry of ``PYTHONPATH`` as the working folder.

Two ways of starting are supported where the working folder is not trusted: the command ``polyclinic``, and
``python -P -m polyclinic``. Without ``-P``, Python has imported ``polyclinic`` and a few modules of its own library
(``runpy`` and what it imports) before the first line of this module runs, and it looked in the working folder first.

This module may import nothing that is not loaded when Python has started.
"""

import os
import site
import sys

OWN_FOLDERS = "POLYCLINIC_PATH"
"""Environment variable: folders with classes of the operator, behind all others, separated as in ``PYTHONPATH``."""

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable of Python (3.11 and later): processes leave the working folder out of their path."""


def isolate() -> None:
    """Take the folders that nobody named out of ``sys.path``, for this process and for those that it starts.

    ``PYTHONPATH`` keeps its absolute entries, without the working folder and without folders that hold a bundle. A
    second call changes nothing.

    Raises:
        SystemExit: Python was told to ignore its environment, by which the processes started here are made safe.
    """
    if not sys.flags.safe_path:
        if sys.flags.ignore_environment:
            raise SystemExit("error: got Python's option -E alone, expected -I, or -E with -P; set one of them")
        if not os.environ.get(SAFE_PATH) and sys.path[:1] and _is_working_folder(sys.path[0]):
            del sys.path[0]
    os.environ[SAFE_PATH] = "1"
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry) or _is_hook(entry)]
    _filter_pythonpath()
    own = [os.path.abspath(entry) for entry in os.environ.get(OWN_FOLDERS, "").split(os.pathsep) if entry]
    sys.path += [entry for entry in own if entry not in sys.path]


def _filter_pythonpath() -> None:
    given = os.environ.pop("PYTHONPATH", "")
    if not given:
        return
    entries = given.split(os.pathsep)
    kept = [one for one in entries if os.path.isabs(one) and not _is_working_folder(one) and not _is_bundle(one)]
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    dropped = {os.path.abspath(entry) for entry in entries if entry not in kept}
    dropped -= {os.path.abspath(entry) for entry in kept} | {os.path.dirname(os.path.abspath(os.__file__))}
    if dropped & set(sys.path):
        sys.path[:] = [entry for entry in sys.path if entry not in dropped]
        # Some of them may be folders of the installation too, which Python does not list twice.
        site.addsitepackages(site.addusersitepackages({os.path.normcase(entry) for entry in sys.path}))


def _is_working_folder(entry: str) -> bool:
    try:
        return entry == "" or os.path.samefile(entry, os.curdir)
    except OSError:  # either of them is gone
        return False


def _is_hook(entry: str) -> bool:
    """Whether setuptools put it there for a package that is installed as editable."""
    return entry.startswith("__editable__.") and not os.path.exists(entry)


def _is_bundle(entry: str) -> bool:
    return os.path.isfile(os.path.join(entry, "bundle.json"))
