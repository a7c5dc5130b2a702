"""The types on the edges of an agent."""

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import ParametrizedAttribute, TypeAttribute
from xdsl.irdl import irdl_attr_definition


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
class KvType(ParametrizedAttribute, TypeAttribute):
    """`!llm.kv<"llama-3-8b">`: the cache of one sequence of one model."""

    name = "llm.kv"
    model: StringAttr
