"""``polyclinic demo``: train on synthetic patients and show the result, in a minute or in full."""

from pathlib import Path

from polyclinic.cli.demo.full import run_full
from polyclinic.cli.demo.quick import run_quick
from polyclinic.system.terminal import Console

FULL_STUDIES, QUICK_STUDIES = 3000, 200


def demo(
    out: Path | None = None, quick: bool = False, serve: bool = True, studies: int | None = None, seed: int = 0
) -> None:
    """Train on synthetic patients, and show what comes out: polyclinic demo --quick

    Without `--quick`, Symile is compared with pairwise CLIP and with the same encoders trained on all labels, on unseen
    patients. With it, a head is trained on 200 studies, exported as a bundle, and served on a page for this machine.

    Args:
        out: folder for everything that the demo writes; `demo`, or `demo-quick` with `--quick`, unless set.
        quick: whether to run the short demo.
        serve: whether the short demo ends with the page, until Ctrl-C.
        studies: number of synthetic studies; 3000, or 200 with `--quick`, unless set.
        seed: random seed of the cohort and the training.

    Raises:
        ValueError: the folder holds another synthetic cohort, or a step failed.
    """
    console = Console(highlight=False)
    if quick:
        run_quick(out or Path("demo-quick"), studies=studies or QUICK_STUDIES, seed=seed, serve=serve, console=console)
    else:
        run_full(out or Path("demo"), studies=studies or FULL_STUDIES, seed=seed, console=console)
