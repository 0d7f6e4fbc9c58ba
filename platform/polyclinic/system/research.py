"""What every document with scores states: that they are research, and which bundle made them."""

from dataclasses import dataclass

RESEARCH_TITLE = "Research result, not for clinical use"


@dataclass(frozen=True, kw_only=True)
class ResearchModel:
    """The bundle that made the scores.

    Attributes:
        name: name of the bundle.
        version: version of polyclinic that exported it.
        sha256: digest of the bundle.
        not_a_device: sentence that every document carries.
    """

    name: str
    version: str
    sha256: str
    not_a_device: str
