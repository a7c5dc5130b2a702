"""What ops of language models have in common: a model and mean sizes."""

from abc import ABC

from xdsl.dialects.builtin import ArrayAttr, IntegerAttr, StringAttr
from xdsl.ir import Attribute
from xdsl.irdl import attr_def, opt_attr_def

from weft.compiler.dialects.step import StepOp
from weft.compiler.dialects.types import HiddenType, KvType, StoredType


class ModelOp(StepOp, ABC):
    """`isl` prompt tokens, `osl` reply tokens, never more than `max_tokens`. As a stage of a pipeline it is `layers` of
    the model's layers beginning with `first_layer`."""

    model = attr_def(StringAttr)
    isl = attr_def(IntegerAttr)
    osl = attr_def(IntegerAttr)
    max_tokens = attr_def(IntegerAttr)
    first_layer = opt_attr_def(IntegerAttr)
    layers = opt_attr_def(IntegerAttr)

    def verify_(self) -> None:
        super().verify_()
        self.check_above(0, isl=self.isl, osl=self.osl, max_tokens=self.max_tokens)
        check_part(self, "layers", self.first_layer, self.layers)
        for value in (*self.operands, *self.results):
            self._check_model(value.type)

    def _check_model(self, of: Attribute) -> None:
        if isinstance(of, KvType | HiddenType | StoredType) and of.model != self.model:
            what = "hidden states" if isinstance(of, HiddenType) else "a KV cache"
            raise self.refusal(f"runs {self.model.data} on {what} of {of.model.data}", "use one model")


class SizedOp(ModelOp, ABC):
    """May run any of `models`, if they are given; `model` is the first of them until the place pass has chosen. With
    `chunk_tokens` the reply is a stream, so many tokens a chunk.

    Every prompt of the step begins with the same `prefix_tokens` tokens, the text that the program calls `prefix`.

    After tensor parallel expansion it runs on the device `shard` of `shards`.
    """

    models = opt_attr_def(ArrayAttr[StringAttr])
    chunk_tokens = opt_attr_def(IntegerAttr)
    prefix = opt_attr_def(StringAttr)
    prefix_tokens = opt_attr_def(IntegerAttr)
    shard = opt_attr_def(IntegerAttr)
    shards = opt_attr_def(IntegerAttr)

    @property
    def model_names(self) -> tuple[str, ...]:
        return (self.model.data,) if self.models is None else tuple(each.data for each in self.models)

    def verify_(self) -> None:
        super().verify_()
        names = self.model_names
        if not names or names[0] != self.model.data or len(set(names)) < len(names):
            raise self.refusal(f"models are {list(names)}, {self.model.data} must be first, each once", "mend the list")
        self.check_above(0, chunk_tokens=self.chunk_tokens)
        self._check_prefix()
        if (self.shard is None) != (self.shards is None):
            raise self.refusal("says one of shard and shards", "give both, or none")
        if self.shard is not None and self.shards is not None:
            which, count = self.shard.value.data, self.shards.value.data
            if not 0 <= which < count:
                raise self.refusal(f"is shard {which} of {count}", "count shards from 0")
        partial = any(isinstance(value.type, HiddenType) for value in (*self.operands, *self.results))
        if partial and self.layers is None:
            raise self.refusal("passes hidden states on, but is a whole phase", "say which layers it is")

    def _check_prefix(self) -> None:
        if (self.prefix is None) != (self.prefix_tokens is None):
            raise self.refusal("says one of prefix and prefix_tokens", "give both, or none")
        self.check_above(0, prefix_tokens=self.prefix_tokens)
        if self.prefix_tokens is not None and self.prefix_tokens.value.data > self.isl.value.data:
            problem = f"has prompts of {self.isl.value.data} tokens with a prefix of {self.prefix_tokens.value.data}"
            raise self.refusal(problem, "count the prefix into isl")


def check_part(op: StepOp, label: str, first: IntegerAttr | None, count: IntegerAttr | None) -> None:
    """A range within a model: its first member and how many, both or none."""
    if (first is None) != (count is None):
        raise op.refusal(f"says one of the first of its {label} and how many", "give both, or none")
    op.check_above(0, **{label: count})
    op.check_above(-1, **{f"first of {label}": first})
