"""Metrics for Prometheus; none describes a patient."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16)


class ServiceMetrics:
    """The counters, gauges and histograms of one service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("polyclinic_requests", "Answered requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "polyclinic_request_seconds", "From the first byte to the last.", ["route"], buckets=_SECONDS_BUCKETS,
            registry=registry,
        )  # fmt: skip
        self.in_flight = Gauge("polyclinic_in_flight", "Studies that are being scored.", registry=registry)
        self.busy = Gauge(
            "polyclinic_busy", "Files that are being read, studies that the model scores.", ["kind"], registry=registry
        )
        self.uploaded = Counter("polyclinic_uploaded_bytes", "Bytes of files.", registry=registry)
        self.unread = Counter(
            "polyclinic_unread_files", "Files that could not be read.", ["modality"], registry=registry
        )
        self.replaced = Counter(
            "polyclinic_replaced_processes", "Processes that were killed or died.", ["kind"], registry=registry
        )
        self.together = Histogram(
            "polyclinic_batch_studies", "Studies scored together.", buckets=_BATCH_BUCKETS, registry=registry
        )

    def text(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
