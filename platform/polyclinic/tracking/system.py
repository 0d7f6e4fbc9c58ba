"""How busy the machine is, under the names of MLflow's own system metrics."""

from collections.abc import Callable, Sequence
from time import time

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from polyclinic.tracking.entries import Metrics


def system_sampler() -> Callable[[], Metrics]:
    """A function that measures processor, memory and, where NVML is installed, GPUs; its steps count from zero."""
    monitors: list[BaseMetricsMonitor] = []
    for kind in (CPUMonitor, GPUMonitor):
        try:
            monitors.append(kind())
        except (ImportError, RuntimeError):  # no NVML, or no GPU behind it
            continue
    taken = 0

    def sample() -> Metrics:
        nonlocal taken
        values = _measured(monitors, taken)
        taken += 1
        return values

    return sample


def _measured(monitors: Sequence[BaseMetricsMonitor], step: int) -> Metrics:
    now, found = int(time() * 1000), {}
    for monitor in monitors:
        monitor.collect_metrics()
        found.update(monitor.aggregate_metrics())
        monitor.clear_metrics()
    return Metrics(tuple((f"system/{name}", float(value), now, step) for name, value in found.items()))
