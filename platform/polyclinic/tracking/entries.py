"""Entries that a run logs to MLflow, serialisable so that they can wait in a file while the server is away."""

import base64
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from polyclinic.tracking.note import with_section

_MAX_BATCH = 100
_MAX_METRIC_BATCH = 1000
_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Metrics:
    """Metric values, each with name, value, time in milliseconds and step."""

    values: tuple[tuple[str, float, int, int], ...]

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Log the metrics; MLflow's database ignores those that it already holds."""
        for batch in batches(self.values, _MAX_METRIC_BATCH):
            client.log_batch(run_id, metrics=[Metric(*value) for value in batch])


@dataclass(frozen=True)
class Params:
    """Parameters of a run, as text."""

    values: dict[str, str]

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Log new parameters; one that differs from the run's value becomes the tag ``param_drift.<key>``."""
        held = client.get_run(run_id).data.params
        drifted = {key: value for key, value in self.values.items() if held.get(key, value) != value}
        for batch in batches(item for item in self.values.items() if item[0] not in held):
            client.log_batch(run_id, params=[Param(*item) for item in batch])
        for key, value in drifted.items():
            _log.warning("the run holds %s = %s, this session uses %s; see its tags", key, held[key], value)
        Tags({f"param_drift.{key}": value for key, value in drifted.items()}).send(client, run_id)


@dataclass(frozen=True)
class Tags:
    """Tags of a run; they replace earlier tags of the same names."""

    values: dict[str, str]

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Set the tags in the run."""
        for batch in batches(self.values.items()):
            client.log_batch(run_id, tags=[RunTag(*item) for item in batch])


@dataclass(frozen=True)
class Section:
    """Section of the description of a run, in Markdown; the one without a title comes first."""

    title: str
    text: str

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Replace or add the section, and keep the others that the description of the run holds."""
        note = client.get_run(run_id).data.tags.get(MLFLOW_RUN_NOTE, "")
        Tags({MLFLOW_RUN_NOTE: with_section(note, self.title, self.text)}).send(client, run_id)


@dataclass(frozen=True)
class Artifact:
    """A small file: its name, which may include folders, and its content in base 64."""

    name: str
    content: str

    @classmethod
    def of(cls, name: str, content: bytes) -> "Artifact":
        """Build an artifact from bytes."""
        return cls(name, base64.b64encode(content).decode("ascii"))

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Upload the file to the run."""
        path = PurePosixPath(self.name)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, path.name)
            file.write_bytes(base64.b64decode(self.content))
            client.log_artifact(run_id, str(file), None if path.parent == PurePosixPath() else str(path.parent))


@dataclass(frozen=True)
class CohortInput:
    """The cohort as a dataset of the run."""

    name: str
    digest: str
    source: str
    profile: str

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Log the dataset; MLflow ignores one that it already holds."""
        dataset = Dataset(self.name, self.digest, "polyclinic-cohort", self.source, profile=self.profile)
        client.log_inputs(run_id, datasets=[DatasetInput(dataset)])


@dataclass(frozen=True)
class Ended:
    """End of a run: status, and time in milliseconds."""

    status: str
    time: int

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Set the final status and end time of the run."""
        client.set_terminated(run_id, self.status, end_time=self.time)


Entry: TypeAlias = Metrics | Params | Tags | Section | Artifact | CohortInput | Ended
_KINDS: dict[str, type[Any]] = {cls.__name__: cls for cls in (Params, Tags, Section, Artifact, CohortInput, Ended)}


def to_line(entry: Entry) -> str:
    """Serialise an entry as one line of JSON, line break included."""
    return json.dumps({"kind": type(entry).__name__, **asdict(entry)}) + "\n"


def from_line(line: str) -> Entry:
    """Parse an entry that ``to_line`` wrote.

    Raises:
        ValueError: the line is truncated, as after a kill.
    """
    try:
        fields: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        raise ValueError(f"got a truncated line of {len(line)} characters, expected one entry as JSON") from None
    kind = fields.pop("kind")
    if kind == Metrics.__name__:
        return Metrics(tuple((name, value, time, step) for name, value, time, step in fields["values"]))
    entry: Entry = _KINDS[kind](**fields)
    return entry


def joined(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Merge adjacent metrics into one entry, for fewer requests."""
    metrics: list[tuple[str, float, int, int]] = []
    for entry in entries:
        if isinstance(entry, Metrics):
            metrics.extend(entry.values)
            continue
        if metrics:
            yield Metrics(tuple(metrics))
            metrics = []
        yield entry
    if metrics:
        yield Metrics(tuple(metrics))


def batches(entries: Iterable[T], size: int = _MAX_BATCH) -> Iterator[list[T]]:
    """Split entries into lists that fit in one MLflow request."""
    remaining = iter(entries)
    while batch := list(islice(remaining, size)):
        yield batch
