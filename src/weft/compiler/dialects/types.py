"""The types on the edges of an agent."""

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Attribute, ParametrizedAttribute, TypeAttribute
from xdsl.irdl import AnyOf, BaseAttr, irdl_attr_definition


@irdl_attr_definition
class TextType(ParametrizedAttribute, TypeAttribute):
    name = "agent.text"


@irdl_attr_definition
class AudioType(ParametrizedAttribute, TypeAttribute):
    name = "agent.audio"


@irdl_attr_definition
class MessagesType(ParametrizedAttribute, TypeAttribute):
    name = "agent.messages"


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


TEXT = AnyOf((BaseAttr(TextType), BaseAttr(StreamType)))
"""Text, at once or in chunks."""


def whole(value_type: Attribute) -> Attribute:
    """What a stream adds up to; any other type is itself."""
    return value_type.element if isinstance(value_type, StreamType) else value_type
