"""The contract of a cohort builder, and how installed ones are found."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

from polyclinic.cohort.build.data_root import DataRoot
from polyclinic.cohort.build.flow import Flow

ENTRY_POINTS = "polyclinic.cohorts"


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a builder made of a data set.

    Attributes:
        table: of the connection, one row per study, with ``study_id``, ``patient_id``, ``split`` (train, val or test)
            and every column that the rest names.
        root: folder that the paths in it start from.
        population: register in which patient ids are unique.
        modalities: as in ``cohort.yaml``.
        labels: as in ``cohort.yaml``.
        groups: columns for subgroups.
        plugins: settings of modalities whose defaults do not suit these columns, by modality: ``class_path`` and
            ``init_args``.
        tables: further tables to keep, by the name of their file.
        notes: decisions that a reader of the cohort should know.
    """

    table: str
    root: Path
    population: str
    modalities: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    groups: Sequence[str] = ()
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


class CohortBuilder(ABC):
    """How one public data set becomes a cohort: what a study is, where its files lie, and what is known of it.

    Every constructor argument is an option of ``polyclinic cohort build NAME`` and is kept under its own name.
    """

    unverified: ClassVar[tuple[str, ...]] = ()
    """Facts about the data set that this builder relies on and that no public source confirms."""

    @abstractmethod
    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Make the table of studies in ``root.connection``.

        Args:
            root: the data set; its files are read, never written.
            flow: where every row that is left out is counted, with the reason.

        Raises:
            ValueError: a file or a column that the layout has is not there.
        """

    def settings(self) -> dict[str, Any]:
        """The constructor arguments, by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


def installed_builders() -> dict[str, type[CohortBuilder]]:
    """Load every builder registered under the entry-point group ``polyclinic.cohorts``, by name."""
    return {point.name: point.load() for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name)}
