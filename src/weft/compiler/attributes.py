"""Plain Python values as MLIR attributes and back, and step names in the letters that MLIR allows."""

import re
from collections.abc import Mapping
from functools import lru_cache

from xdsl.dialects.builtin import DictionaryAttr, FloatAttr, IntegerAttr, StringAttr, f64, i64
from xdsl.ir import Attribute

Scalar = str | int | float


@lru_cache(maxsize=1 << 14, typed=True)  # the same few numbers and reasons stand on many steps
def to_attribute(value: Scalar) -> Attribute:
    if isinstance(value, str):
        return StringAttr(value)
    return IntegerAttr(value, i64) if isinstance(value, int) else FloatAttr(value, f64)


def to_dictionary(values: Mapping[str, Scalar]) -> DictionaryAttr:
    return DictionaryAttr({key: to_attribute(value) for key, value in values.items()})


def to_scalar(attribute: Attribute) -> Scalar | None:
    """None for attributes that are no scalars."""
    if isinstance(attribute, StringAttr):
        return attribute.data
    return attribute.value.data if isinstance(attribute, IntegerAttr | FloatAttr) else None


def scalars(attributes: Mapping[str, Attribute]) -> dict[str, Scalar]:
    """The scalar ones among `attributes`."""
    values = {key: to_scalar(attribute) for key, attribute in attributes.items()}
    return {key: value for key, value in values.items() if value is not None}


def spelled(name: str) -> str:
    """A step's name in the letters that MLIR allows for values, blocks and symbols."""
    text = "".join(each if each.isascii() and (each.isalnum() or each in "_.") else "_" for each in name)
    return text if text[:1].isalpha() or text[:1] == "_" else f"_{text}"


def labelled(name: str) -> str:
    """`name` as a block's label. xDSL takes a final `_2` for a number of its own and drops it: `a_2` becomes `a.2`."""
    return re.sub(r"_(\d+)$", r".\1", spelled(name))
