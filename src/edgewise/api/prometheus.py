"""The node's counts in Prometheus' exposition format, read when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from edgewise.api.metrics import BUCKETS_S, Metrics

if TYPE_CHECKING:
    from edgewise.node.node import Node


def expose(node: Node, metrics: Metrics) -> bytes:
    """The exposition."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_NodeCollector(node, metrics))
    return generate_latest(registry)


class _NodeCollector(Collector):
    def __init__(self, node: Node, metrics: Metrics) -> None:
        self._node = node
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from _requests(self._metrics)
        yield from _models(self._node)
        yield from _pipelines(self._node)
        yield from _journal(self._node)


def _requests(metrics: Metrics) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "edgewise_http_requests", "HTTP requests by area of the API and status.", labels=("area", "status")
    )
    for (area, status), count in list(metrics.requests.items()):
        requests.add_metric((area, str(status)), count)
    yield requests
    errors = CounterMetricFamily("edgewise_http_errors", "Requests that failed, by error code.", labels=("code",))
    for code, count in list(metrics.errors.items()):
        errors.add_metric((code,), count)
    yield errors
    latency = HistogramMetricFamily(
        "edgewise_request_seconds", "From request to answer, for tensor requests and predictions.", labels=("model",)
    )
    edges = [*(str(edge) for edge in BUCKETS_S), "+Inf"]
    for model, figures in list(metrics.inference.by_model.items()):
        buckets = list(zip(edges, accumulate(figures.buckets), strict=True))
        latency.add_metric((model,), buckets=buckets, sum_value=figures.sum_ns / 1e9)
    yield latency


def _models(node: Node) -> Iterator[Metric]:
    labels = ("model", "version")
    inferences = CounterMetricFamily("edgewise_inferences", "Inferences; each item of a batch counts.", labels=labels)
    failures = CounterMetricFamily("edgewise_inference_failures", "Requests that failed in the model.", labels=labels)
    seconds = CounterMetricFamily(
        "edgewise_inference_seconds", "Time in each stage of requests.", labels=(*labels, "stage")
    )
    for loaded in node.repository.loaded():
        manifest = loaded.model.manifest
        names = (manifest.name, manifest.version)
        figures = loaded.statistics
        inferences.add_metric(names, figures.inference_count)
        failures.add_metric(names, figures.fail.count)
        for stage in ("queue", "compute_input", "compute_infer", "compute_output"):
            seconds.add_metric((*names, stage), getattr(figures, stage).ns / 1e9)
    yield from (inferences, failures, seconds)


def _pipelines(node: Node) -> Iterator[Metric]:
    label = ("pipeline",)
    frames = CounterMetricFamily("edgewise_frames", "Frames worked on.", labels=label)
    dropped = CounterMetricFamily("edgewise_frames_dropped", "Frames pushed out by newer ones.", labels=label)
    errors = CounterMetricFamily("edgewise_frame_errors", "Frames that failed.", labels=label)
    rate = GaugeMetricFamily("edgewise_frames_per_second", "Frames worked on per second.", labels=label)
    changed = CounterMetricFamily(
        "edgewise_transform_counts",
        "What transforms changed or left out, such as temperature.outlier.",
        labels=("pipeline", "transform", "what"),
    )
    for name, runner in node.pipelines.items():
        state = runner.state()
        frames.add_metric((name,), state.processed)
        dropped.add_metric((name,), state.dropped)
        errors.add_metric((name,), state.errors)
        rate.add_metric((name,), state.fps)
        for transform, counts in state.counts.items():
            for what, count in counts.items():
                changed.add_metric((name, transform, what), count)
    yield from (frames, dropped, errors, rate, changed)


def _journal(node: Node) -> Iterator[Metric]:
    labels = ("stream", "consumer")
    families = {
        name: GaugeMetricFamily(
            f"edgewise_journal_{name}_records", f"Records {name}, as the audit counts.", labels=labels
        )
        for name in ("produced", "delivered", "pending", "dropped")
    }
    for balance in node.journal.audit():
        for name, family in families.items():
            family.add_metric((balance.stream, balance.consumer), getattr(balance, name))
    yield from families.values()
