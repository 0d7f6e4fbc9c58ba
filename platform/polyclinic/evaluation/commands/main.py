"""The subcommands of ``polyclinic evaluate``."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import auto_cli

from polyclinic.evaluation.card.command import card
from polyclinic.evaluation.commands.classifier import classifier
from polyclinic.evaluation.commands.linkage import linkage
from polyclinic.evaluation.commands.probe import probe
from polyclinic.evaluation.commands.reconstruction import reconstruction
from polyclinic.evaluation.commands.retrieval import retrieval
from polyclinic.evaluation.commands.zeroshot import zeroshot


def main(argv: Sequence[str]) -> None:
    """Run one of the evaluation's subcommands."""
    commands = {
        "zeroshot": zeroshot,
        "retrieval": retrieval,
        "linkage": linkage,
        "classifier": classifier,
        "reconstruction": reconstruction,
        "probe": probe,
        "card": card,
    }
    if list(argv[1:2]) == ["card"]:
        # Two cohorts, two checkpoints: named, so that none is taken for another.
        auto_cli(card, args=list(argv[2:]), prog="polyclinic evaluate card", as_positional=False, exit_on_error=False)
        return
    auto_cli(dict[str, Any](commands), args=list(argv[1:]), prog="polyclinic evaluate", exit_on_error=False)
