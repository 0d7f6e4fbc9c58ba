"""Multimodal medical and scientific learning.

The names in ``__all__`` are the public Python interface; each is imported when it is first used, so that importing
``polyclinic`` loads neither torch nor a plugin.
"""

# Nothing may be imported here: with `python -m`, the working folder is still on the path (see system.isolation).

__version__ = "0.2.0"

_MODULES = {
    "cohort": ("read_cohort",),
    "data": ("CohortDataModule",),
    "tasks": ("ContrastivePretraining", "Downstream", "MaskedPretraining"),
    "objectives": (
        "AlignmentUniformity",
        "Clip",
        "Cwcl",
        "IntraModal",
        "MixupContrast",
        "ReliabilityGate",
        "Siglip",
        "SimilarityMatching",
        "Symile",
        "WithTerms",
    ),
    "evaluation.checkpoint": ("load_checkpoint",),
    "evaluation": ("linkage_report", "retrieval_report", "subgroup_report", "zero_shot_report"),
    "deploy.bundle": ("load_bundle",),
    "deploy.scoring": ("score",),
}
MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
"""The module below ``polyclinic`` of each public name."""

__all__ = sorted(MODULE_OF)


def __getattr__(name: str):  # type: ignore[no-untyped-def]
    if name not in MODULE_OF:
        raise AttributeError(f"module 'polyclinic' has no attribute {name!r}; it offers {', '.join(MODULE_OF)}")
    from importlib import import_module  # noqa: PLC0415

    try:
        value = getattr(import_module(f"polyclinic.{MODULE_OF[name]}"), name)
    except ModuleNotFoundError as error:
        message = import_module("polyclinic.system.extras").missing_sentence(error.name, f"polyclinic.{name}")
        raise ModuleNotFoundError(message or str(error), name=error.name) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *MODULE_OF]
