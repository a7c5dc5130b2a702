"""Weft's dialects on xDSL. Attributes, not properties, so that upstream's dynamic dialects can load the same text."""

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin
from xdsl.dialects.cf import Cf
from xdsl.dialects.func import Func
from xdsl.ir import Dialect

from weft.compiler.dialects.agent import AgentDialect
from weft.compiler.dialects.data import DataDialect
from weft.compiler.dialects.fleet import FleetDialect
from weft.compiler.dialects.kv import KvDialect
from weft.compiler.dialects.llm import LlmDialect
from weft.compiler.dialects.media import MediaDialect
from weft.compiler.dialects.mem import MemDialect
from weft.compiler.dialects.tool import ToolDialect

WEFT_DIALECTS: tuple[Dialect, ...] = (
    AgentDialect,
    DataDialect,
    FleetDialect,
    KvDialect,
    LlmDialect,
    MediaDialect,
    MemDialect,
    ToolDialect,
)


def weft_context() -> Context:
    """A context with upstream's builtin, cf and func beside our dialects."""
    context = Context()
    for dialect in (Builtin, Cf, Func, *WEFT_DIALECTS):
        context.load_dialect(dialect)
    return context
