"""What a resumed run holds already, so that the steps after its checkpoint are not in its curves twice."""

import math
import sys

from mlflow import MlflowClient

from polyclinic.tracking.entries import Metrics


class History:
    """The curves that a run had when it was resumed, each asked for when it is first continued.

    Args:
        client: of MLflow.
        run_id: of the run.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._held: dict[str, set[tuple[int, float | None]]] = {}

    def fresh(self, metrics: Metrics) -> Metrics:
        """Those that the run lacks: another step, or another value at a step that it has.

        A resume that repeats its steps exactly adds nothing; one that does not is seen.
        """
        return Metrics(tuple(each for each in metrics.values if (each[3], _value(each[1])) not in self._of(each[0])))

    def _of(self, name: str) -> set[tuple[int, float | None]]:
        if name not in self._held:
            history = self._client.get_metric_history(self._run_id, name)
            self._held[name] = {(point.step, _value(point.value)) for point in history}
        return self._held[name]


def _value(value: float) -> float | None:
    """As MLflow's database keeps it: infinities as the largest numbers; None for NaN, which equals nothing."""
    return None if math.isnan(value) else max(min(value, sys.float_info.max), -sys.float_info.max)
