"""Class paths of the previous release, which configurations may still use."""

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
"""New class paths by old ones, for configurations, checkpoints and bundles; an entry stays for one release."""


def forward_old_names(package: str) -> Callable[[str], Any]:
    """Build the module-level ``__getattr__`` of a package whose classes were moved or renamed.

    Args:
        package: full name of the package.

    Returns:
        A function that returns the class of an old name with a ``FutureWarning``, and raises ``AttributeError`` for
        any other name.
    """

    def find(name: str) -> Any:
        old = f"{package}.{name}"
        if old not in OLD_NAMES:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = OLD_NAMES[old].rpartition(".")
        warnings.warn(f"{old} is now {OLD_NAMES[old]}; write the new name", FutureWarning, stacklevel=2)
        return getattr(import_module(module), attribute)

    return find
