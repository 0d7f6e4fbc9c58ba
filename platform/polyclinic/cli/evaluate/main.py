"""``polyclinic evaluate``: measure a checkpoint."""

from collections.abc import Callable, Sequence

from polyclinic.cli.evaluate.baseline import baseline
from polyclinic.cli.evaluate.card import card
from polyclinic.cli.evaluate.classifier import classifier
from polyclinic.cli.evaluate.linkage import linkage
from polyclinic.cli.evaluate.probe import probe
from polyclinic.cli.evaluate.reconstruction import reconstruction
from polyclinic.cli.evaluate.retrieval import retrieval
from polyclinic.cli.evaluate.zeroshot import zeroshot
from polyclinic.cli.options import run_command, run_subcommand


def main(argv: Sequence[str]) -> None:
    """Run one of the ``evaluate`` subcommands."""
    commands: dict[str, Callable[..., None]] = {
        "zeroshot": zeroshot,
        "retrieval": retrieval,
        "linkage": linkage,
        "classifier": classifier,
        "baseline": baseline,
        "reconstruction": reconstruction,
        "probe": probe,
        "card": card,
    }
    if list(argv[1:2]) == ["card"]:
        # Options only: among several paths, positional arguments are easily confused.
        run_command(card, argv[2:], prog="polyclinic evaluate card", as_positional=False)
        return
    run_subcommand(commands, argv[1:], prog="polyclinic evaluate")
