"""Our dialects as IRDL, so that upstream tools load them: `iree-opt --irdl-file=weft.irdl.mlir agent.mlir`.

Upstream's dynamic dialects know constraints on operands, results, types' parameters and required attributes; traits,
properties, optional attributes, custom assembly and what our verifiers say beyond that stay ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from xdsl.builder import Builder
from xdsl.dialects.builtin import (
    ArrayAttr,
    ArrayOfConstraint,
    IntegerType,
    ModuleOp,
    StringAttr,
    SymbolNameConstraint,
    SymbolRefAttr,
)
from xdsl.dialects.irdl import irdl
from xdsl.dialects.irdl.pyrdl_to_irdl import depython_name
from xdsl.ir import Attribute, Block, Dialect, ParametrizedAttribute, Region, SSAValue, TypeAttribute
from xdsl.irdl import (
    AnyOf,
    AttrConstraint,
    AttributeDef,
    BaseAttr,
    IRDLOperation,
    MessageConstraint,
    OptionalDef,
    ParamAttrConstraint,
    RangeConstraint,
    RangeLengthConstraint,
    RangeOf,
    VariadicDef,
)
from xdsl.rewriter import InsertPoint

from weft.compiler.dialects import WEFT_DIALECTS

Constraint = AttrConstraint[Any] | RangeConstraint[Any]


def irdl_module(dialects: Sequence[Dialect] = WEFT_DIALECTS) -> ModuleOp:
    return ModuleOp([_dialect(each) for each in dialects])


def _dialect(dialect: Dialect) -> irdl.DialectOp:
    types = [_type(each) for each in dialect.attributes if issubclass(each, ParametrizedAttribute)]
    operations = [_operation(each) for each in dialect.operations if issubclass(each, IRDLOperation)]
    return irdl.DialectOp(dialect.name, Region(Block([*types, *operations])))


def _type(definition: type[ParametrizedAttribute]) -> irdl.TypeOp:
    assert issubclass(definition, TypeAttribute), f"{definition.name} is no type"
    build = Builder(InsertPoint.at_end(block := Block()))
    parameters = definition.get_irdl_definition().parameters
    if parameters:
        values = [_constraint(build, each.constr) for _, each in parameters]
        build.insert(irdl.ParametersOp(values, ArrayAttr([StringAttr(name) for name, _ in parameters])))
    return irdl.TypeOp(definition.name.partition(".")[2], Region(block))


def _operation(definition: type[IRDLOperation]) -> irdl.OperationOp:
    build = Builder(InsertPoint.at_end(block := Block()))
    found = definition.get_irdl_definition()
    for kind, values in ((irdl.OperandsOp, found.operands), (irdl.ResultsOp, found.results)):
        if values:
            constraints = [_constraint(build, each.constr) for _, each in values]
            counts = irdl.VariadicityArrayAttr(ArrayAttr([_count(each) for _, each in values]))
            names = ArrayAttr([StringAttr(depython_name(name)) for name, _ in values])
            build.insert(kind(constraints, counts, names))
    if required := _required(found.attributes):
        build.insert(irdl.AttributesOp.get({name: _constraint(build, each) for name, each in required.items()}))
    return irdl.OperationOp(definition.name.partition(".")[2], Region(block))


def _required(attributes: Mapping[str, object]) -> dict[str, AttrConstraint[Any]]:
    return {
        name: each.constr
        for name, each in attributes.items()
        if isinstance(each, AttributeDef) and not isinstance(each, OptionalDef)
    }


def _count(definition: object) -> irdl.VariadicityAttr:
    if isinstance(definition, OptionalDef):
        return irdl.VariadicityAttr.OPTIONAL
    return irdl.VariadicityAttr.VARIADIC if isinstance(definition, VariadicDef) else irdl.VariadicityAttr.SINGLE


def _constraint(build: Builder, constraint: Constraint) -> SSAValue:
    """The nearest that IRDL can say; where it has no words for it, anything goes there."""
    match constraint:
        case RangeLengthConstraint():
            return _constraint(build, constraint.constraint)
        case RangeOf() | MessageConstraint():
            return _constraint(build, constraint.constr)
        case AnyOf():
            return build.insert(irdl.AnyOfOp([_constraint(build, each) for each in constraint.attr_constrs])).output
        case BaseAttr():
            return build.insert(_base(constraint.attr)).output
        case ParamAttrConstraint():
            return build.insert(_base(constraint.base_attr)).output
        case SymbolNameConstraint():
            return build.insert(_base(StringAttr)).output
        case ArrayOfConstraint():
            return build.insert(_base(ArrayAttr)).output
        case _:
            return build.insert(irdl.AnyOp()).output


def _base(attribute: type[Attribute]) -> irdl.BaseOp:
    if attribute is IntegerType:
        return irdl.BaseOp("!builtin.integer")
    dialect, _, name = attribute.name.rpartition(".")
    if dialect:
        return irdl.BaseOp(SymbolRefAttr(dialect, [name]))
    return irdl.BaseOp(f"#builtin.{name}")
