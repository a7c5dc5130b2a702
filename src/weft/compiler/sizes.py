"""What a value weighs on a wire: a paragraph, a short chat, three seconds of 16 kHz speech, eight passages, the
arguments of a call. Embeddings have four bytes a number; caches know their own."""

from collections.abc import Mapping

from xdsl.ir import Attribute

from weft.compiler.dialects.types import (
    AudioType,
    DocsType,
    EmbeddingType,
    JsonType,
    MessagesType,
    TextType,
    whole,
)

BYTES_OF: Mapping[type[Attribute], float] = {
    TextType: 1e3,
    MessagesType: 4e3,
    AudioType: 96e3,
    DocsType: 8e3,
    JsonType: 500.0,
}


def value_bytes(value: Attribute) -> float:
    value = whole(value)
    return 4.0 * value.width.value.data if isinstance(value, EmbeddingType) else BYTES_OF.get(type(value), 0.0)
