"""Entry point of ``polyclinic``: run a subcommand, and turn its errors into messages and exit codes."""

import sys

from polyclinic.system.isolation import SAFE_PATH, isolate

# While Python imports this package for ``-m polyclinic.cli``, sys.argv[0] is still ``-m``.
if sys.argv[0] == "-m" or sys.argv[0].rpartition("/")[2] == "polyclinic":
    isolate()

# After isolate(), which decides where these come from.
import os
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module

from polyclinic import __version__
from polyclinic.cli.commands import COMMANDS, help_text, split_command, usage
from polyclinic.cli.narrow import fitted
from polyclinic.cli.needed_extras import needed_extras
from polyclinic.cli.output import OutputOptions, limited_libraries, shown, take_output_options
from polyclinic.system.extras import missing_sentence, refuse_missing
from polyclinic.system.running_command import running
from polyclinic.system.terminal import printable

__all__ = ["COMMANDS", "main"]

_OWNER_ONLY = 0o077
_PARTIAL = ".partial"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 for success, 1 after a message for invalid input.

    A reader that closes the pipe, such as ``head``, ends the command without a message and with exit code 1.
    """
    if argv is None:
        isolate()
        os.umask(_OWNER_ONLY)
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
        # A closed pipe is found here rather than when the interpreter ends, which would report it.
        sys.stdout.flush()
    except BrokenPipeError:
        return _closed_pipe()
    return code


def _main(argv: list[str]) -> int:
    try:
        argv, options = take_output_options(argv)
        if text := _text(argv):
            print(fitted(text), end="")  # noqa: T201
            return 0
        with _restricted(), running(argv):
            _run(argv, options)
    except (ValueError, ArgumentError) as error:
        return _fail(import_module("polyclinic.cli.messages").sentences(str(error)))
    except ModuleNotFoundError as error:  # of a library that only some options or plugins need
        if not (message := missing_sentence(error.name, f"`polyclinic {split_command(argv)[0]}`")):
            raise
        return _fail(message)
    except KeyboardInterrupt:
        return _fail("interrupted", code=130)
    except OSError as error:
        if error.filename is None:  # not of a path: a closed pipe, or a connection
            raise
        return _fail(_unusable_path(error))
    return 0


@contextmanager
def _restricted() -> Iterator[None]:
    """Create files for their owner only, and start processes that do not import from the working folder."""
    umask, safe = os.umask(_OWNER_ONLY), os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        os.umask(umask)
        if safe is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = safe


def _text(argv: Sequence[str]) -> str:
    """Return the text that answers a command line without running anything; empty if a command is to run."""
    name = " ".join(argv[:-1])
    if not argv or argv[-1] in ("-h", "--help"):
        return usage(name) or help_text(name)
    if argv in (["--version"], ["-V"]):
        return f"polyclinic {__version__}\n"
    return usage(argv[0]) if len(argv) == 1 else ""


def _run(argv: list[str], options: OutputOptions) -> None:
    """Import and run the command of a command line."""
    name, words = split_command(argv)
    refuse_missing(needed_extras(name), f"`polyclinic {name}`")
    # The parser of YAML and options takes a quarter of a second to import, for which a help must not wait.
    import_module("polyclinic.files.yaml_loader").register_loader()
    command = COMMANDS[name]
    with shown(options):
        run = getattr(import_module(command.module), command.function)
        with limited_libraries(options):
            if command.function == "main":
                run([name.rpartition(" ")[2], *words])
            else:
                import_module("polyclinic.cli.options").run_command(run, words, prog=f"polyclinic {name}")


def _unusable_path(error: OSError) -> str:
    """Return a sentence for a path that the operating system refuses, without its folders, which may name a patient."""
    name = os.fsdecode(error.filename or "").rpartition("/")[2]
    if name.endswith(_PARTIAL):  # what is written before it gets its name
        name = name.removeprefix(".").removesuffix(_PARTIAL)
    return f"got path {name!r}, which cannot be used ({error.strerror}), expected one that can; set another path"


def _closed_pipe() -> int:
    """Discard what is left in the buffer, and return the exit code."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _fail(message: str, *, code: int = 1) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"error: {printable(message)}\n")
    return code
