"""`weft opt`: run passes on a file of IR. The spec reads `split-phases,place{fleet=default slo=interactive}`."""

from collections.abc import Callable

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass, PassPipeline
from xdsl.utils.exceptions import ArgSpecParseError

from weft.compiler.changes import Changes
from weft.compiler.dialects import weft_context
from weft.compiler.parse import verify
from weft.compiler.passes import PASSES
from weft.core.errors import IRError


def parse_pipeline(spec: str) -> tuple[ModulePass, ...]:
    """Unknown passes and options are refused with the known ones."""
    try:
        return PassPipeline.parse_spec(PASSES, spec).passes
    except (ValueError, TypeError, ArgSpecParseError) as error:
        raise IRError(
            subject=f"pipeline {spec!r}", problem=str(error).strip(), way_out=f"the passes are {', '.join(PASSES)}"
        ) from error


def run_passes(
    module: ModuleOp,
    passes: tuple[ModulePass, ...],
    after_each: Callable[[ModulePass, ModuleOp], None] | None = None,
    verified: Changes | None = None,
) -> None:
    """Runs `passes` in place; the module is verified after each, under the pass's name. `verified`: how it looked when
    it was verified before."""
    context, changes = weft_context(), verified or Changes()
    for each in passes:
        each.apply(context, module)
        verify(module, f"module after {each.name}", changes)
        if after_each:
            after_each(each, module)
