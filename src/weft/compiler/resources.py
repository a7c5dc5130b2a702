"""What one visit of a step uses, as its op says it: θ of the paper, for any hardware or for the pool that it is on.

Model steps: `flops`, `memory_bytes`, `kv_bytes` of a batch of one, and `message_bytes` between the devices of a
replica; on one device at 16 bits until the step is placed. Other steps: `core_s` on a server core.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, ModuleOp
from xdsl.ir import Operation

from weft import catalog
from weft.compiler.attributes import to_dictionary
from weft.compiler.dialects.collectives import CollectiveOp
from weft.compiler.dialects.experts import ExpertOp, GateSelectOp, MergeExpertsOp, PartOp
from weft.compiler.dialects.fleet import PoolOp, SendOp
from weft.compiler.dialects.llm import DecodeOp, ExtendOp, PrefixOp, PromptOp
from weft.compiler.dialects.sized import ModelOp, SizedOp
from weft.compiler.dialects.step import CpuOp, StepOp
from weft.core.deployment import Parallelism
from weft.core.units import Precision
from weft.cost.theta import ALL, ARITHMETIC, Part, Theta, Visit, theta

_PARTS: Mapping[type[Operation], Part] = {GateSelectOp: Part.GATE, MergeExpertsOp: Part.MERGE}


@dataclass(frozen=True)
class Resources:
    """Answers for the steps of one module; `pools` by name."""

    pools: Mapping[str, PoolOp]
    known: dict[object, Theta] = field(default_factory=dict[object, Theta])

    @classmethod
    def of(cls, module: ModuleOp) -> "Resources":
        return cls({each.sym_name.data: each for each in module.ops if isinstance(each, PoolOp)})

    def note(self, step: StepOp) -> None:
        """Writes the step's `cost`."""
        step.cost = self.dictionary(step)

    def dictionary(self, step: StepOp) -> DictionaryAttr:
        match step:
            case PromptOp() | DecodeOp() | PrefixOp():
                return _told(self._of_phase(step))
            case PartOp():
                return _told(self._of_part(step))
            case CollectiveOp():
                return to_dictionary({"message_bytes": step.bytes_moved.value.data})
            case SendOp() if step.bytes_moved is not None:
                return to_dictionary({"message_bytes": step.bytes_moved.value.data})
            case CpuOp():
                return to_dictionary({"core_s": step.core_s.value.data})
            case _:
                return to_dictionary({})

    def visit(self, step: ModelOp) -> Visit:
        """The step as the cost model sees it, on its whole replica."""
        decodes = step.decodes if isinstance(step, PartOp) else isinstance(step, DecodeOp)
        found = Visit(catalog.model(step.model.data), decodes, step.isl.value.data, step.osl.value.data)
        pool = self.pool(step)
        if pool is not None and pool.precision is not None:
            found = replace(found, precision=Precision(pool.precision.data))
        found = replace(found, parallelism=self.parallelism(step))
        if isinstance(step, ExtendOp) and step.prefix_tokens is not None:
            found = replace(found, cached=step.prefix_tokens.value.data)
        if step.first_layer is not None and step.layers is not None:
            first = step.first_layer.value.data
            found = replace(found, layers=range(first, first + step.layers.value.data))
        return found

    def pool(self, step: StepOp) -> PoolOp | None:
        return self.pools.get(step.pool.string_value()) if step.pool is not None else None

    def parallelism(self, step: StepOp) -> Parallelism:
        """That of its pool, or what the op itself says; without both, one device."""
        says = self.pool(step) or step
        numbers = {name: says.attributes.get(name) for name in ("tp", "pp", "dp", "ep")}
        return Parallelism(**{name: n.value.data for name, n in numbers.items() if isinstance(n, IntegerAttr)})

    def _of_phase(self, step: SizedOp) -> Theta:
        visit = self.visit(step)
        if step.shards is not None:
            return self._theta(visit, ARITHMETIC).scaled(1.0 / step.shards.value.data)
        return self._theta(visit, ALL if step.layers is None else (*ARITHMETIC, Part.REDUCE, Part.GATHER))

    def _of_part(self, step: PartOp) -> Theta:
        visit = self.visit(step)
        if not isinstance(step, ExpertOp):
            return self._theta(visit, (_PARTS[type(step)],))
        routed = visit.model.experts
        held = 1.0 if step.experts is None or routed is None else step.experts.value.data / routed.count
        return self._theta(visit, (Part.EXPERTS,)).scaled(held)

    def _theta(self, visit: Visit, parts: tuple[Part, ...]) -> Theta:
        """Equal steps are many."""
        key = (
            visit.model.id,
            visit.decodes,
            visit.isl,
            visit.osl,
            visit.parallelism,
            visit.precision,
            visit.layers,
            parts,
        )
        if key not in self.known:
            self.known[key] = theta(visit, parts)
        return self.known[key]


def _told(found: Theta) -> DictionaryAttr:
    """Counts are whole numbers in the IR; what is not used is not told."""
    used = {
        "flops": found.flops,
        "memory_bytes": found.memory_bytes,
        "kv_bytes": found.kv_bytes,
        "message_bytes": found.message_bytes,
    }
    return to_dictionary({name: round(value) for name, value in used.items() if value})
