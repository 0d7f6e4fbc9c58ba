"""Timeline plugin: events over time, such as the laboratory values and vital signs of a stay."""

from polyclinic_timeline.plugin import Timeline

__all__ = ["Timeline"]
