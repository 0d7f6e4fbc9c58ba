"""Measured figures and their goals."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value.

    Attributes:
        goal: value to reach; None where the figure is only reported.
        at_most: whether the goal is an upper bound.
    """

    name: str
    value: float
    unit: str
    command: str
    goal: float | None = None
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal

    def as_json(self) -> dict[str, Any]:
        """Return the entry of ``bench/report.json``."""
        content = asdict(self)
        del content["at_most"]
        return content | {"holds": self.holds}


Benchmark = Callable[[], list[Figure]]
