"""What /metrics tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "retop_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "retop_request_seconds", "Time of a request.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self.images = Counter(
            "retop_images", "Images by model and outcome.", ["model", "outcome"], registry=self.registry
        )
        self.batch_images = Histogram(
            "retop_batch_images", "Images of a batch.", ["model"], buckets=SIZES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "retop_batch_seconds", "Time of a batch in the network.", ["model"], buckets=SECONDS, registry=self.registry
        )
        self.heat_maps = Counter("retop_heat_maps", "Heat maps that were made.", registry=self.registry)
        self.waiting = Gauge(
            "retop_waiting_images", "Images being read, decoded or waited for.", registry=self.registry
        )
        self.waiting_bytes = Gauge(
            "retop_waiting_bytes", "Bytes of the bodies of requests in progress.", registry=self.registry
        )
        self.connections = Gauge("retop_connections", "Open connections.", registry=self.registry)
        self.connections_closed = Counter(
            "retop_connections_closed",
            "Connections that were closed by the server before their request was answered, or to make room.",
            ["reason"],
            registry=self.registry,
        )
        self.decoders_replaced = Gauge(
            "retop_decoders_replaced", "Decoders that were killed or died.", registry=self.registry
        )
