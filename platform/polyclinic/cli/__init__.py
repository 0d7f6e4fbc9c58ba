"""Subcommands of ``polyclinic``, and their entry point."""

from polyclinic.cli.entry import COMMANDS, main

__all__ = ["COMMANDS", "main"]
