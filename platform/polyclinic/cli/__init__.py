"""The ``polyclinic`` command: every subcommand, and nothing that is not one."""

from polyclinic.cli.entry import COMMANDS, main

__all__ = ["COMMANDS", "main"]
