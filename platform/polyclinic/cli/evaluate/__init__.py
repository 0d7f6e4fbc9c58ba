"""Subcommands of ``polyclinic evaluate``."""
