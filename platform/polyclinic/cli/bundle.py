"""``polyclinic bundle verify``: check a bundle."""

from pathlib import Path

from polyclinic.deploy.bundle.verification import verified_bundle
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console


def verify(folder: Path) -> None:
    """Check every byte, key and number of a bundle, and score a built-in study: polyclinic bundle verify bundle

    Args:
        folder: bundle of ``polyclinic bundle export``.

    Raises:
        ValueError: a file of the bundle is missing, changed or invalid, or the bundle cannot score.
    """
    bundle = verified_bundle(folder)
    origin = bundle.content.origin
    console = Console()
    inputs = ", ".join(bundle.query)
    estimates = f" and {len(bundle.estimated)} estimates" if bundle.estimated else ""
    console.print(
        f"verified: {bundle.content.name}, {len(bundle.findings)} findings{estimates} from {inputs}", soft_wrap=True
    )
    console.print("scored: a built-in study with all input modalities, and with each alone", soft_wrap=True)
    console.print(
        f"bundle {bundle.digest}\ncheckpoint {origin.checkpoint_sha256}\nexported {origin.date}", highlight=False
    )
    print_next("polyclinic", "serve", folder)
