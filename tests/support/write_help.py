"""Write the help of every command to a file, which ``polyclinic COMMAND --help`` prints without importing the command.

python tests/support/write_help.py
"""

import contextlib
import io
from importlib import import_module

from polyclinic.cli.commands import COMMANDS, help_file
from polyclinic.cli.options import run_command


def parser_help(name: str) -> str:
    """Return the help that the parser of a command prints."""
    command, printed = COMMANDS[name], io.StringIO()
    run = getattr(import_module(command.module), command.function)
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        if command.function == "main":
            run([name.rpartition(" ")[2], "--help"])
        else:
            run_command(run, ["--help"], prog=f"polyclinic {name}")
    return printed.getvalue()


if __name__ == "__main__":
    for name in COMMANDS:
        path = help_file(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(parser_help(name), encoding="utf-8")
