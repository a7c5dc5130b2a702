"""Steps as Prometheus metrics, and as OpenTelemetry spans by the GenAI semantic conventions.

One span a visit, named as the conventions ask ("chat llama-3-8b", "execute_tool search"); it belongs to the trace that
its call names, so that all visits of a run are one trace. Contents (prompts, replies) are never recorded.
"""
# pyright: standard

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from weft.core.errors import MissingProgramError, WeftError
from weft.core.program import StepKind
from weft.runtime.messages import Call
from weft.runtime.observe import Seen
from weft.runtime.spec import NodeSpec

try:
    import prometheus_client
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingProgramError(
        subject=f"package {error.name!r}", problem="is not installed", way_out="run: pip install weft[observe]"
    ) from error

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
EVERY_MS = 1000  # a node that is ended loses the spans of so long at most
OPERATIONS: Mapping[StepKind, str] = {
    StepKind.PREFILL: "chat",
    StepKind.DECODE: "chat",
    StepKind.EMBED: "embeddings",
    StepKind.TOOL: "execute_tool",
    StepKind.SEARCH: "execute_tool",
}


class Telemetry:
    """`exporter` takes the spans; without it none are made."""

    def __init__(self, spec: NodeSpec, exporter: SpanExporter | None = None) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self._spans = TracerProvider(
            resource=Resource.create(
                {"service.name": "weft", "service.instance.id": spec.name, "weft.device": spec.device}
            ),
            shutdown_on_exit=False,
        )
        if exporter is not None:
            self._spans.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EVERY_MS))
        self._tracer = self._spans.get_tracer("weft.runtime") if exporter is not None else trace.NoOpTracer()
        self._model = spec.model or ""
        self._make_metrics(spec)

    def _make_metrics(self, spec: NodeSpec) -> None:
        labels, registry = ["step", "kind"], self.registry
        self._ended = prometheus_client.Counter(
            "weft_steps", "Visits of steps that ended.", [*labels, "outcome"], registry=registry
        )
        self._seconds = prometheus_client.Histogram(
            "weft_step_seconds", "Time of a visit.", labels, buckets=SECONDS, registry=registry
        )
        self._running = prometheus_client.Gauge("weft_steps_running", "Visits under way.", registry=registry)
        self._tokens = prometheus_client.Counter(
            "weft_tokens", "Tokens read and written.", ["step", "direction"], registry=registry
        )
        self._moved = prometheus_client.Counter("weft_kv_moved_bytes", "KV cache taken over.", registry=registry)
        self._cached = prometheus_client.Counter(
            "weft_cached_tokens", "Prompt tokens that were not computed.", registry=registry
        )
        about = prometheus_client.Info("weft_node", "What this node is.", registry=registry)
        about.info({"name": spec.name, "device": spec.device, "emulated": str(bool(spec.paces)).lower()})

    @contextlib.contextmanager
    def step(self, call: Call) -> Generator[Seen, None, None]:
        seen, began_s, outcome = Seen(), time.perf_counter(), "ok"
        with self._span(call) as span, self._running.track_inprogress():
            try:
                yield seen
            except BaseException as error:
                outcome = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
                _tell_error(span, error)
                raise
            finally:
                self._ended.labels(call.step, call.kind, outcome).inc()
                self._seconds.labels(call.step, call.kind).observe(time.perf_counter() - began_s)
                self._count(call, seen, span)

    def watch_cache(self, stats: Callable[[], Mapping[str, float]]) -> None:
        """The cache's own numbers, as they are when somebody asks."""
        self.registry.register(_CacheNumbers(stats))

    def close(self) -> None:
        """Sends what spans are left."""
        self._spans.shutdown()

    def _span(self, call: Call) -> contextlib.AbstractContextManager[trace.Span]:
        operation, told = OPERATIONS.get(call.kind), call.attributes
        attributes: dict[str, Any] = {"weft.step": call.step, "weft.step.kind": str(call.kind)}
        about = str(told.get("tool", "") if operation == "execute_tool" else told.get("model", self._model))
        if operation is not None:
            attributes |= {"gen_ai.operation.name": operation, "gen_ai.provider.name": "weft"}
            attributes["gen_ai.tool.name" if operation == "execute_tool" else "gen_ai.request.model"] = about
        if call.kind is StepKind.DECODE and "max_tokens" in told:
            attributes["gen_ai.request.max_tokens"] = int(told["max_tokens"])
        name = f"{operation} {about}".strip() if operation is not None else f"{call.kind} {call.step}"
        context = TraceContextTextMapPropagator().extract({"traceparent": call.trace}) if call.trace else None
        return self._tracer.start_as_current_span(
            name, context, attributes=attributes, record_exception=False, set_status_on_exception=False
        )

    def _count(self, call: Call, seen: Seen, span: trace.Span) -> None:
        metrics = seen.metrics
        for direction, tokens in (("input", metrics.input_tokens), ("output", metrics.output_tokens)):
            if tokens:
                self._tokens.labels(call.step, direction).inc(tokens)
                span.set_attribute(f"gen_ai.usage.{direction}_tokens", tokens)
        self._moved.inc(metrics.bytes_moved)
        self._cached.inc(metrics.cached_tokens)
        if metrics.emulated:
            span.set_attribute("weft.emulated", True)


class _CacheNumbers(Collector):
    """`host.bytes` is weft_kv_cache_bytes{tier="host"}; what belongs to no tier has tier ""."""

    def __init__(self, stats: Callable[[], Mapping[str, float]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for key, value in self._stats().items():
            tier, _, name = key.rpartition(".")
            family = families.setdefault(
                name, GaugeMetricFamily(f"weft_kv_cache_{name}", f"Tiers of KV blocks: {name}.", labels=["tier"])
            )
            family.add_metric([tier], value)
        yield from families.values()


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Spans over OTLP/HTTP to a collector, e.g. http://localhost:4318/v1/traces."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise MissingProgramError(
            subject=f"package {error.name!r}", problem="is not installed", way_out="run: pip install weft[observe]"
        ) from error
    return OTLPSpanExporter(endpoint=endpoint)


def _tell_error(span: trace.Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(trace.StatusCode.ERROR, str(error) if isinstance(error, WeftError) else "")
