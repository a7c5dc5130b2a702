"""One span a run, which the spans of its steps on all nodes hang below: the waterfall of an agent across devices.

Named as the GenAI conventions of OpenTelemetry ask ("invoke_agent NAME"). Nothing of what was said is in it.
"""
# pyright: standard

import contextlib
from collections.abc import Generator

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

EVERY_MS = 1000


class RunSpans:
    def __init__(self, exporter: SpanExporter) -> None:
        about = Resource.create({"service.name": "weft", "service.instance.id": "gateway"})
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EVERY_MS))
        self._tracer = self._provider.get_tracer("weft.serve")

    @contextlib.contextmanager
    def run(self, agent: str, below: str = "") -> Generator[str, None, None]:
        """Around one run, which is a part of the W3C traceparent `below` and sampled as that is; gives the one that
        its steps are told."""
        told = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent, "gen_ai.provider.name": "weft"}
        parent = TraceContextTextMapPropagator().extract({"traceparent": below})
        span = self._tracer.start_span(f"invoke_agent {agent}", parent, attributes=told)
        about = span.get_span_context()
        try:
            yield f"00-{about.trace_id:032x}-{about.span_id:016x}-{about.trace_flags:02x}"
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()
