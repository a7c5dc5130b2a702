"""The dialects: modules print and parse to themselves in both forms; all ops are tried; refusals name a way out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.compiler.control_flow import agent_graph, block_name
from weft.compiler.dialects import WEFT_DIALECTS
from weft.compiler.dialects.types import EmbeddingType
from weft.compiler.parse import parse_module, print_module
from weft.core.errors import IRError

TEXT, CHAT, DOCS, JSON, AUDIO = (f"!agent.{name}" for name in ("text", "messages", "docs", "json", "audio"))
EMBEDDING, KV, STORED, HIDDEN = "!agent.embedding<384>", '!llm.kv<"m-8b">', '!kv.stored<"m-8b">', '!llm.hidden<"m-8b">'
SIZES = "isl = 8 : i64, osl = 4 : i64, max_tokens = 9 : i64"
CORE, EXPERTS = "core_s = 0.001 : f64", "first_expert = 0 : i64, experts = 2 : i64"

OPS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ('agent.input "{s}"({0}) {{{core}}}', (TEXT,), TEXT),
    ('agent.interrupt "{s}"({0}) {{{core}}}', (DOCS,), DOCS),
    ('agent.choose "{s}"({0}, {1}) function "f" {{labels = ["a", "b"], {core}}}', (TEXT, CHAT), "i32"),
    ('data.apply "{s}"({0}, {1}) function "f" {{{core}}}', (CHAT, DOCS), CHAT),
    ('data.filter "{s}"({0}) function "f" {{removes = ["name"], {core}}}', (CHAT,), CHAT),
    ('data.parse "{s}"({0}) function "f" {{{core}}}', (TEXT,), JSON),
    ('tool.invoke "{s}"({0}) tool "t" {{corpus = "c", lookup_share = 0.5 : f64, {core}}}', (JSON,), DOCS),
    ('tool.lookup "{s}"({0}) tool "t" {{{core}}}', (TEXT,), DOCS),
    ('tool.compute "{s}"({0}) tool "t" {{{core}}}', (DOCS,), TEXT),
    ('mem.load "{s}"({0}) from "m" {{{core}}}', (TEXT,), CHAT),
    ('mem.store "{s}"({0}) into "m" {{{core}}}', (JSON,), JSON),
    ('mem.search "{s}"({0}) in "m" {{k = 3 : i64, {core}}}', (EMBEDDING,), DOCS),
    ('media.transcribe "{s}"({0}) {{model = "w", variation = 0.5 : f64, {core}}}', (AUDIO,), TEXT),
    ('media.synthesize "{s}"({0}) {{voice = "v", {core}}}', (TEXT,), AUDIO),
    ('llm.embed "{s}"({0}) model "e" {{{core}}}', (DOCS,), EMBEDDING),
    ('llm.call "{s}"({0}) model "m-8b" {{models = ["m-8b", "n"], {sizes}}}', (CHAT,), TEXT),
    ('llm.prefill "{s}"({0}) model "m-8b" {{{sizes}}}', (CHAT,), KV),
    ('llm.prefill "{s}"({0}) model "m-8b" {{first_layer = 0 : i64, layers = 4 : i64, {sizes}}}', (CHAT,), HIDDEN),
    ('llm.decode "{s}"({0}) model "m-8b" {{shard = 0 : i64, shards = 2 : i64, {sizes}}}', (KV,), TEXT),
    ('llm.extend "{s}"({0}, {1}) model "m-8b" {{prefix = "p", prefix_tokens = 2 : i64, {sizes}}}', (KV, CHAT), KV),
    ('llm.gate_select "{s}"({0}) phase "decode" model "m-8b" {{tp = 2 : i64, {sizes}}}', (KV,), HIDDEN),
    ('llm.expert_prefill "{s}"({0}) model "m-8b" {{{sizes}}}', (HIDDEN,), HIDDEN),
    ('llm.expert_decode "{s}"({0}) model "m-8b" {{{experts}, {sizes}}}', (HIDDEN,), HIDDEN),
    ('llm.merge_experts "{s}"({0}, {1}) phase "prefill" model "m-8b" {{{sizes}}}', (HIDDEN, HIDDEN), KV),
    ('llm.all_reduce "{s}"({0}, {1}) shards 2 {{bytes = 9 : i64}}', (KV, KV), KV),
    ('llm.all_gather "{s}"({0}) shards 4 {{bytes = 9 : i64}}', (HIDDEN,), HIDDEN),
    ('kv.transfer "{s}"({0}) over "roce-400g" {{bytes = 9 : i64}}', (KV,), KV),
    ('kv.store "{s}"({0}) in "disk" {{bytes = 9 : i64}}', (KV,), STORED),
    ('kv.load "{s}"({0})', (STORED,), KV),
    ('fleet.send "{s}"({0}) to @far {{bytes = 9 : i64}}', (TEXT,), f"!fleet.message<{TEXT}>"),
    ('fleet.recv "{s}"({0})', (f"!fleet.message<{TEXT}>",), TEXT),
)  # fmt: skip
"""An op with blanks for its step and operands, the types that it takes, and the type that it gives."""


def module_of(picks: list[int]) -> str:
    """Picked ops in turn; what they take that no step has made yet comes as an input of the agent."""
    inputs: dict[str, str] = {}
    made: dict[str, str] = {}
    lines: list[str] = []
    for number, pick in enumerate(picks):
        form, takes, gives = OPS[pick]
        values = [made.get(each) or inputs.setdefault(each, f"%in{len(inputs)}") for each in takes]
        made[gives] = f"%v{number}"
        words = form.format(*values, s=f"step {number}", core=CORE, sizes=SIZES, experts=EXPERTS)
        lines.append(f"  %v{number} = {words} : ({', '.join(takes)}) -> {gives}")
    arguments = ", ".join(f"{value}: {each}" for each, value in inputs.items())
    types, values = ", ".join(made), ", ".join(made.values())
    header = f"func.func @any({arguments}) -> ({types}) attributes {{agent.graph}} {{"
    return "\n".join([header, *lines, f"  func.return {values} : {types}", "}"])


@settings(max_examples=20)
@given(st.lists(st.integers(0, len(OPS) - 1), min_size=1, max_size=12))
def test_printing_and_parsing_are_inverse(picks: list[int]) -> None:
    module = parse_module(module_of(picks), "generated")
    text, generic = print_module(module), print_module(module, generic=True)
    assert print_module(parse_module(text, "text")) == text
    assert print_module(parse_module(generic, "generic")) == text
    assert parse_module(text, "text").is_structurally_equivalent(module)


def test_every_op_is_among_them() -> None:
    written = {form.partition(" ")[0] for form, _, _ in OPS} | {"agent.map", "fleet.pool", "llm.prefix"}
    assert {op.name for dialect in WEFT_DIALECTS for op in dialect.operations} == written


def test_widths_print_as_upstream_and_people_write_them() -> None:
    text = module_of([next(at for at, op in enumerate(OPS) if op[2] == EMBEDDING)])
    assert "<384>" in text
    assert print_module(parse_module(text.replace("<384>", "<384 : i64>"), "a")) == print_module(
        parse_module(text, "b")
    )
    with pytest.raises(IRError, match=r"!agent.embedding<0> has no numbers; give its width"):
        parse_module(text.replace("<384>", "<0>"), "a")
    assert EmbeddingType.of(8).width.value.data == 8


KINDS = {form.partition(" ")[0]: at for at, (form, _, _) in enumerate(OPS)}


@pytest.mark.parametrize(
    ("op", "old", "new", "problem"),
    [
        ("llm.decode", '"m-8b" {', '"other" {', 'llm.decode "step 0": runs other on a KV cache of m-8b; use one model'),
        ("llm.decode", "shard = 0", "shard = 2", "is shard 2 of 2; count shards from 0"),
        ("llm.decode", "shard = 0 : i64, ", "", "says one of shard and shards; give both, or none"),
        ("llm.expert_decode", "experts = 2", "experts = 0", "experts is 0, must be above 0; give a larger experts"),
        ("llm.merge_experts", '"prefill"', '"middle"', "phase is 'middle'; choose among prefill, decode"),
        ("llm.merge_experts", '"prefill"', '"decode"', "a decode gives !llm.kv"),
        ("llm.all_reduce", "shards 2", "shards 3", "has 2 operands for 3 shards; give one for all, or one each"),
        ("kv.store", '"disk"', '"drawer"', "tier is 'drawer'; choose among host, disk, object"),
        ("tool.invoke", "0.5", "1.5", "lookup_share is 1.5; give a number from 0 to 1"),
        ("data.filter", '"name"', "", 'removes nothing; say what it takes out, as removes = ["email"]'),
        ("mem.search", "k = 3", "k = 0", "k is 0, must be above 0"),
        ("mem.store", '"m"', '""', "names no memory; give its name"),
        ("media.transcribe", "0.5", "0.0", "variation is 0.0, must be above 0"),
        ("agent.choose", '["a", "b"]', "[]", "gives i32 with 0 labels"),
    ],
)
def test_refusals_name_op_value_and_way_out(op: str, old: str, new: str, problem: str) -> None:
    text = module_of([KINDS[op]])
    assert old in text
    with pytest.raises(IRError) as refusal:
        parse_module(text.replace(old, new, 1), "bad.mlir")
    assert f'{op} "step 0"' in str(refusal.value)
    assert problem in str(refusal.value)


def test_a_wrong_operand_in_generic_form_names_its_op() -> None:
    text = print_module(parse_module(module_of([KINDS["kv.load"]]), "good"), generic=True)
    with pytest.raises(IRError, match=r'kv\.load "step 0"'):
        parse_module(text.replace("!kv.stored", "!llm.kv"), "bad.mlir")


def test_labels_that_end_in_numbers_stay_two_labels() -> None:
    """xDSL reads both as `a`."""
    module = parse_module(
        """
        func.func @agent(%x: !agent.text) -> !agent.text attributes {agent.graph} {
          %c = agent.choose "c"(%x) function "c" {core_s = 1.0e-4 : f64} : (!agent.text) -> i1
          cf.cond_br %c, ^a_1, ^a_2 {agent.weights = [0.5 : f64, 0.5 : f64]}
        ^a_1:
          func.return %x : !agent.text
        ^a_2:
          func.return %x : !agent.text
        }
        """,
        "labels",
    )
    assert [block_name(block) for block in agent_graph(module).body.blocks] == ["entry", "a.1", "a.2"]
    assert print_module(parse_module(print_module(module), "again")) == print_module(module)
