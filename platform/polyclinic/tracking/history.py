"""Metric history of a resumed run, so that steps after its checkpoint are not logged twice."""

import math
import sys

from mlflow import MlflowClient

from polyclinic.tracking.entries import Metrics


class History:
    """Metric curves that a run had when it was resumed; each is fetched when it is first continued.

    Args:
        client: MLflow client.
        run_id: id of the run.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._curves: dict[str, set[tuple[int, float | None]]] = {}

    def fresh(self, metrics: Metrics) -> Metrics:
        """Return the metrics that the run lacks: those of a new step, or with another value at a known step.

        A resume that reproduces its steps exactly adds nothing; a deviation stays visible.
        """
        return Metrics(
            tuple(
                (name, value, time, step)
                for name, value, time, step in metrics.values
                if (step, _stored(value)) not in self._curve(name)
            )
        )

    def _curve(self, name: str) -> set[tuple[int, float | None]]:
        if name not in self._curves:
            history = self._client.get_metric_history(self._run_id, name)
            self._curves[name] = {(point.step, _stored(point.value)) for point in history}
        return self._curves[name]


def _stored(value: float) -> float | None:
    """Return the value as MLflow's database stores it: infinities clipped; None for NaN, which equals nothing."""
    return None if math.isnan(value) else max(min(value, sys.float_info.max), -sys.float_info.max)
