"""The extras that each command needs; a command that is not listed works in a plain installation."""

_NEEDED: dict[str, tuple[str, ...]] = {
    "demo": ("train", "serve"),
    "new": ("train",),
    "fit": ("train",),
    "validate": ("train",),
    "test": ("train",),
    "sweep": ("train", "sweep"),
    "crossval": ("train",),
    "predict": ("train",),
    "cohort build": ("train",),
    "cohort events": ("wards",),
    "cohort ward": ("wards",),
    "evaluate": ("train",),
    "bundle export": ("train",),
    "bundle register": ("train",),
    "runs": ("train",),
    "tracking": ("train",),
    "serve": ("serve",),
    "deidentify": ("deidentify",),
}


def needed_extras(command: str) -> tuple[str, ...]:
    """Return the extras that a command needs, by its name or by the first word of it."""
    return _NEEDED.get(command) or _NEEDED.get(command.partition(" ")[0], ())
