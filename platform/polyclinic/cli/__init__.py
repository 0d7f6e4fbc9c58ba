"""Subcommands of ``polyclinic``, and their entry point."""

from polyclinic.cli.commands import COMMANDS
from polyclinic.cli.entry import main

__all__ = ["COMMANDS", "main"]
