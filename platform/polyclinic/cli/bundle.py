"""``polyclinic bundle``: export, verify or register a bundle."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from jsonargparse import auto_cli

from polyclinic.deploy.bundle.verification import verified_bundle
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console

EXPORT, VERIFY, REGISTER = "export", "verify", "register"
# Imported on demand: export needs the training libraries and register needs MLflow, for which verify must not wait.
_MODULES = {EXPORT: "polyclinic.cli.export", REGISTER: "polyclinic.cli.register"}


def main(argv: Sequence[str]) -> None:
    """Run one of the subcommands.

    Raises:
        ValueError: the subcommand is unknown.
    """
    words = argv[1:]
    if words and words[0] in _MODULES:
        run: Callable[[Sequence[str]], None] = import_module(_MODULES[words[0]]).main
        run(words[1:])
    elif words[:1] == [VERIFY]:
        auto_cli(verify, args=list(words[1:]), prog="polyclinic bundle verify", exit_on_error=False)
    elif words[:1] in ([], ["-h"], ["--help"]):
        usage = "usage: polyclinic bundle export|verify|register ..."
        Console().print(f"{usage}\n\nsee polyclinic bundle export --help")
    else:
        raise ValueError(f"got {words[0]!r}, expected {EXPORT}, {VERIFY} or {REGISTER}; see polyclinic bundle --help")


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
