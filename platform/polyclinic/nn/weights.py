"""What became of every weight when a model takes over those of another."""

from typing import NamedTuple


class WeightAccount(NamedTuple):
    """Every name of either side, once.

    Attributes:
        source: name of the file or folder, without its path.
        loaded: of both sides, taken over.
        new: of this model only, left as it was initialised.
        dropped: of the source only, not used.
    """

    source: str
    loaded: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]
