"""Declared steps → step ops, and Python annotations → IR types."""

from collections.abc import Callable, Mapping
from typing import Any

from xdsl.dialects.builtin import ArrayAttr, FloatAttr, IntegerAttr, StringAttr, f64, i1, i64
from xdsl.ir import Attribute, Operation, SSAValue

from weft.agent import Audio, Messages, Step, Stream, Text
from weft.compiler.dialects.agent import ChooseOp
from weft.compiler.dialects.data import ApplyOp, FilterOp
from weft.compiler.dialects.llm import CallOp
from weft.compiler.dialects.media import SynthesizeOp, TranscribeOp
from weft.compiler.dialects.tool import InvokeOp
from weft.compiler.dialects.types import AudioType, MessagesType, StreamType, TextType, whole

_TYPES: tuple[tuple[object, Attribute], ...] = (
    (Text, TextType()),
    (Audio, AudioType()),
    (Messages, MessagesType()),
    (Stream[Text], StreamType(TextType())),
    (bool, i1),
)

_OPERATIONS: Mapping[str, Callable[..., Operation]] = {
    "transcribe": TranscribeOp.build,
    "llm": CallOp.build,
    "search": InvokeOp.build,
    "tool": InvokeOp.build,
    "synthesize": SynthesizeOp.build,
    "apply": ApplyOp.build,
    "choose": ChooseOp.build,
    "filter": FilterOp.build,
}
_REALS = {"core_s", "variation", "timeout_s", "memory_gib"}
_VARIADIC = {"apply", "choose"}


def ir_type(annotation: object) -> Attribute | None:
    return next((attribute for known, attribute in _TYPES if known == annotation), None)


def same_type(value: SSAValue, annotation: object) -> bool:
    """A stream may go where the whole value is wanted."""
    wanted = ir_type(annotation)
    return wanted is not None and wanted in (value.type, whole(value.type))


def build_step(name: str, step: Step[Any, Any], inputs: list[SSAValue]) -> Operation:
    attributes: dict[str, Attribute] = {"step": StringAttr(name)}
    if step.kind == "search":
        attributes["tool"] = StringAttr("search")
    attributes |= {key: _attribute(key, value) for key, value in step.attributes.items()}
    operands: list[Any] = [inputs] if step.kind in _VARIADIC else list(inputs)
    return _OPERATIONS[step.kind](operands=operands, attributes=attributes, result_types=[ir_type(step.gives)])


def _attribute(key: str, value: str | int | float | tuple[str, ...]) -> Attribute:
    if isinstance(value, tuple):
        return ArrayAttr([StringAttr(each) for each in value])
    if isinstance(value, str):
        return StringAttr(value)
    return FloatAttr(float(value), f64) if key in _REALS else IntegerAttr(int(value), i64)
