"""``polyclinic evaluate``: measure a checkpoint."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import auto_cli

from polyclinic.cli.evaluate.card import card
from polyclinic.cli.evaluate.classifier import classifier
from polyclinic.cli.evaluate.linkage import linkage
from polyclinic.cli.evaluate.probe import probe
from polyclinic.cli.evaluate.reconstruction import reconstruction
from polyclinic.cli.evaluate.retrieval import retrieval
from polyclinic.cli.evaluate.zeroshot import zeroshot


def main(argv: Sequence[str]) -> None:
    """Run one of the ``evaluate`` subcommands."""
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
        # Options only: among several paths, positional arguments are easily confused.
        auto_cli(card, args=list(argv[2:]), prog="polyclinic evaluate card", as_positional=False, exit_on_error=False)
        return
    auto_cli(dict[str, Any](commands), args=list(argv[1:]), prog="polyclinic evaluate", exit_on_error=False)
