"""`media`: speech in and out."""

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Dialect
from xdsl.irdl import attr_def, irdl_op_definition, operand_def, result_def, traits_def
from xdsl.traits import Pure

from weft.compiler.dialects.step import CpuOp
from weft.compiler.dialects.types import TEXT, AudioType, TextType


@irdl_op_definition
class TranscribeOp(CpuOp):
    """Speech to text; `core_s` is one visit on one server core."""

    name = "media.transcribe"

    audio = operand_def(AudioType)
    model = attr_def(StringAttr)
    text = result_def(TextType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $audio `)` attr-dict `:` functional-type(operands, results)"


@irdl_op_definition
class SynthesizeOp(CpuOp):
    """Text to speech; of a stream it speaks each chunk as it comes."""

    name = "media.synthesize"

    text = operand_def(TEXT)
    voice = attr_def(StringAttr)
    audio = result_def(AudioType)

    traits = traits_def(Pure())
    assembly_format = "$step `(` $text `)` attr-dict `:` functional-type(operands, results)"


MediaDialect = Dialect("media", [TranscribeOp, SynthesizeOp], [])
