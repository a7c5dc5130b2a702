"""The types on the edges of an agent, and of what its models keep."""

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr, StringAttr, i64
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import AnyOf, BaseAttr, irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException


@irdl_attr_definition
class TextType(ParametrizedAttribute, TypeAttribute):
    name = "agent.text"


@irdl_attr_definition
class AudioType(ParametrizedAttribute, TypeAttribute):
    name = "agent.audio"


@irdl_attr_definition
class MessagesType(ParametrizedAttribute, TypeAttribute):
    """A conversation: who said what."""

    name = "agent.messages"


@irdl_attr_definition
class DocsType(ParametrizedAttribute, TypeAttribute):
    """Passages that a search found, best first."""

    name = "agent.docs"


@irdl_attr_definition
class JsonType(ParametrizedAttribute, TypeAttribute):
    """A parsed value: arguments of a tool call, a structured reply."""

    name = "agent.json"


@irdl_attr_definition
class EmbeddingType(ParametrizedAttribute, TypeAttribute):
    """`!agent.embedding<384>`: a vector of so many numbers."""

    name = "agent.embedding"
    width: IntegerAttr

    def verify(self) -> None:
        if self.width.value.data < 1:
            raise VerifyException(f"!agent.embedding<{self.width.value.data}> has no numbers; give its width")

    @classmethod
    def parse_parameters(cls, parser: AttrParser) -> Sequence[Attribute]:
        """`384`, or `384 : i64` as upstream prints it."""
        with parser.in_angle_brackets():
            return (parser.parse_attribute(),)

    def print_parameters(self, printer: Printer) -> None:
        with printer.in_angle_brackets():
            printer.print_int(self.width.value.data)

    @classmethod
    def of(cls, width: int) -> "EmbeddingType":
        return cls(IntegerAttr(width, i64))


@irdl_attr_definition
class StreamType(ParametrizedAttribute, TypeAttribute):
    """`!agent.stream<!agent.text>`: a value in chunks. A step that cannot begin with the first waits for the last."""

    name = "agent.stream"
    element: Attribute


@irdl_attr_definition
class KvType(ParametrizedAttribute, TypeAttribute):
    """`!llm.kv<"llama-3-8b">`: the cache of one sequence of one model."""

    name = "llm.kv"
    model: StringAttr


@irdl_attr_definition
class HiddenType(ParametrizedAttribute, TypeAttribute):
    """`!llm.hidden<"mixtral-8x7b">`: the hidden states of a phase between two parts of its model."""

    name = "llm.hidden"
    model: StringAttr


@irdl_attr_definition
class StoredType(ParametrizedAttribute, TypeAttribute):
    """`!kv.stored<"llama-3-8b">`: a cache that was put away. It must be loaded before a decode reads it."""

    name = "kv.stored"
    model: StringAttr


@irdl_attr_definition
class MessageType(ParametrizedAttribute, TypeAttribute):
    """`!fleet.message<!agent.text>`: a value between its send and its receive."""

    name = "fleet.message"
    element: Attribute


TEXT = AnyOf((BaseAttr(TextType), BaseAttr(StreamType)))
"""Text, at once or in chunks."""

FOUND = AnyOf((BaseAttr(TextType), BaseAttr(DocsType), BaseAttr(JsonType)))
"""What tools and searches give."""

ASKED = AnyOf(
    (BaseAttr(TextType), BaseAttr(StreamType), BaseAttr(MessagesType), BaseAttr(DocsType), BaseAttr(JsonType))
)
"""What tools and memories are asked with."""


def whole(value_type: Attribute) -> Attribute:
    """What a stream adds up to; any other type is itself."""
    return value_type.element if isinstance(value_type, StreamType) else value_type
