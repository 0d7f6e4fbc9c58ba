"""The labels of a trained head in ``bundle.json``, with what was measured of its levels and quantities."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

from pydantic import ConfigDict, Field

from polyclinic.deploy.bundle.fields import STRICT, Count, Distance, LabelKind, Name, Number, Scale, Unit
from polyclinic.deploy.bundle.rules import EstimateRule
from polyclinic.models.class_table import shown
from polyclinic.nn.targets import Kind, Target

_BINARY = ("finding", "class")


@dataclass(frozen=True, kw_only=True)
class Label:
    """A label column that the head has learned; see ``Target``.

    Attributes:
        name: name of the label.
        kind: ``finding``, ``class``, ``level`` or ``quantity``.
        names: names of the classes, or of the levels in rising order.
        unit: unit of a quantity.
        center: mean of a quantity over the training studies; 0 for other kinds.
        scale: standard deviation of a quantity over the training studies; 1 for other kinds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Name
    kind: LabelKind
    names: Annotated[list[Name], Field(max_length=512)]
    unit: Unit
    center: Number
    scale: Scale

    @property
    def target(self) -> Target:
        """The target of the label."""
        return Target(
            name=self.name,
            kind=cast(Kind, self.kind),
            names=tuple(self.names),
            unit=self.unit,
            center=self.center,
            scale=self.scale,
        )

    @property
    def columns(self) -> list[str]:
        """Names of its columns in ``Targets.columns``."""
        return [f"{self.name}={name}" for name in self.names] if self.kind == "class" else [self.name]

    def contradiction(self) -> str | None:
        """Return the contradiction within the label; None without one."""
        if self.kind in ("class", "level"):
            if len(self.names) < 2 or len(set(self.names)) < len(self.names):
                return f"a {self.kind} has names {shown(self.names)}, expected two or more different ones"
        elif self.names:
            return f"a {self.kind} has names, expected none"
        if self.kind != "quantity" and (self.unit, self.center, self.scale) != ("", 0.0, 1.0):
            return f"a {self.kind} has a unit, center or scale, expected none, 0 and 1"
        return None


@dataclass(frozen=True, kw_only=True)
class MeasuredError:
    """Error of a level or quantity on the test split, with all modalities that a study has.

    Attributes:
        n: number of studies with a known label.
        error: mean absolute error and its 95 % interval over patients; None without a study.
        guess: mean absolute error of always guessing the median of the training studies; None without a study.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    n: Count
    error: tuple[Distance, Distance, Distance] | None
    guess: Distance | None

    def contradiction(self) -> str | None:
        """Return the contradiction within the entry; None without one."""
        if (self.error is None, self.guess is None) != (self.n == 0, self.n == 0):
            return "it has one of studies and their errors, expected both or neither"
        if self.error is not None and self.error[1] > self.error[2]:
            return "the interval of its error ends before it begins"
        return None


@dataclass(frozen=True, kw_only=True)
class Head:
    """The labels of a trained head, and the rules of its levels and quantities.

    Attributes:
        labels: label columns, in the order of the outputs.
        estimates: rules by subset key (see ``BundleContent.rules``), then by level or quantity.
        errors: errors on the test split, by level or quantity.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    labels: Annotated[list[Label], Field(min_length=1, max_length=4096)]
    estimates: dict[Name, dict[Name, EstimateRule]]
    errors: dict[Name, MeasuredError]

    @property
    def findings(self) -> list[str]:
        """Names of the findings, and of each class against the others, such as ``rhythm=AF``."""
        return [column for label in self.labels if label.kind in _BINARY for column in label.columns]

    @property
    def estimated(self) -> list[Label]:
        """The levels and quantities, in order."""
        return [label for label in self.labels if label.kind not in _BINARY]

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of the labels."""
        return tuple(label.target for label in self.labels)

    def contradiction(self) -> str | None:
        """Return the first contradiction, with its place; None without one."""
        columns = Counter(column for label in self.labels for column in label.columns)
        if twice := [column for column, count in columns.items() if count > 1]:
            return f"head.labels: {shown(twice[0])} names two outputs"
        names = {label.name for label in self.estimated}
        if set(self.errors) != names or any(set(rules) != names for rules in self.estimates.values()):
            return f"head: estimates and errors are not of the levels and quantities {shown(sorted(names))}"
        entries = [(f"labels.{label.name}", label.contradiction()) for label in self.labels]
        entries += [(f"errors.{name}", entry.contradiction()) for name, entry in self.errors.items()]
        entries += [
            (f"estimates.{key}.{name}", rule.contradiction())
            for key, rules in self.estimates.items()
            for name, rule in rules.items()
        ]
        return next((f"head.{where}: {problem}" for where, problem in entries if problem is not None), None)
