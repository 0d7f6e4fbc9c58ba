"""Every objective over the modalities a, b and c, for tests of their common properties."""

from collections.abc import Callable

from polyclinic.objectives import (
    AlignmentUniformity,
    Clip,
    Cwcl,
    IntraModal,
    MixupContrast,
    Objective,
    ReliabilityGate,
    Siglip,
    SimilarityMatching,
    Symile,
    WithTerms,
)


def objective_family(width: int) -> dict[str, Callable[[], Objective]]:
    """Return builders by name, for embeddings of ``width`` columns; a new objective gets a line here."""
    return {
        "symile": Symile,
        "symile-tiles": lambda: Symile(tile=5),
        "symile-triples": lambda: Symile(triples=[("a", "b", "c")], tile=64),
        "symile-shuffled": lambda: Symile(negatives="shuffled", shuffles=2),
        "clip": Clip,
        "siglip": Siglip,
        "cwcl": lambda: Cwcl(teacher="c"),
        "similarity-matching": lambda: SimilarityMatching(learnable_scale=True, initial_scale=5.0),
        "mixup": lambda: MixupContrast(share=1.0, learnable_scale=True),
        "terms": lambda: WithTerms(objective=Clip(), terms={"u": AlignmentUniformity(), "v": IntraModal()}),
        "gate": lambda: ReliabilityGate(objective=Symile(), modalities=["a", "b"], embedding=width),
    }
