"""Full names that classes had in the release before, for configurations that still use them."""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

OLD_NAMES = {
    "polyclinic.data.ByLength": "polyclinic.data.LengthBucketOrder",
    "polyclinic.data.Mixed": "polyclinic.data.StratifiedOrder",
    "polyclinic.nn.StandInFusion": "polyclinic.nn.PromptPoolFusion",
    "polyclinic.tasks.CompileEncoders": "polyclinic.training.CompileEncoders",
    "polyclinic.tasks.ShardedEncoders": "polyclinic.training.ShardedEncoders",
}
"""Old to new, for configurations, checkpoints and bundles; an entry is removed one release after it was written."""


def forward_old_names(package: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package whose classes have moved.

    Args:
        package: its full name.

    Returns:
        A function that returns the class of an old name with a ``FutureWarning``, and otherwise raises
        ``AttributeError``.
    """

    def find(name: str) -> Any:
        old = f"{package}.{name}"
        if old not in OLD_NAMES:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = OLD_NAMES[old].rpartition(".")
        warnings.warn(f"{old} is now {OLD_NAMES[old]}; write the new name", FutureWarning, stacklevel=2)
        return getattr(import_module(module), attribute)

    return find
