"""`fleet`: the pools that steps are placed on. A step's `pool` attribute refers to one by symbol."""

from xdsl.dialects.builtin import FloatAttr, IntegerAttr, StringAttr, SymbolNameConstraint
from xdsl.ir import Dialect
from xdsl.irdl import IRDLOperation, attr_def, irdl_op_definition, opt_attr_def, traits_def
from xdsl.traits import SymbolOpInterface
from xdsl.utils.exceptions import VerifyException


@irdl_op_definition
class PoolOp(IRDLOperation):
    """`fleet.pool @name on "b200" zone "a" {replicas = 2, tp = 1, …}`: equal replicas of one engine."""

    name = "fleet.pool"

    sym_name = attr_def(SymbolNameConstraint())
    device = attr_def(StringAttr)
    zone = attr_def(StringAttr)
    tp = attr_def(IntegerAttr)
    pp = attr_def(IntegerAttr)
    replicas = attr_def(IntegerAttr)
    batch_limit = attr_def(IntegerAttr)
    usd_per_hour = attr_def(FloatAttr)
    utilisation = attr_def(FloatAttr)
    model = opt_attr_def(StringAttr)
    precision = opt_attr_def(StringAttr)
    share = opt_attr_def(FloatAttr)

    traits = traits_def(SymbolOpInterface())
    assembly_format = "$sym_name `on` $device `zone` $zone attr-dict"

    def verify_(self) -> None:
        for label in ("tp", "pp", "replicas", "batch_limit"):
            value = self.attributes[label]
            assert isinstance(value, IntegerAttr)
            if value.value.data < 1:
                raise VerifyException(f"fleet.pool {self.sym_name}: {label} is {value.value.data}, must be at least 1")


FleetDialect = Dialect("fleet", [PoolOp], [])
