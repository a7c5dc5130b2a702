"""The quick lexer gives xDSL's tokens, and xDSL's errors."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.utils.exceptions import ParseError
from xdsl.utils.lexer import Input
from xdsl.utils.mlir_lexer import MLIRLexer, MLIRTokenKind

from weft.compiler.lexer import QuickLexer

MODULES = sorted(Path("examples").rglob("*.mlir")) + sorted(Path("tests/filecheck").rglob("*.mlir"))[:20]
PIECES = ["%a", "%0#1", "^s0", "!agent.text", "#x", "#-}", "{-#", "{", "-", "->", "-1", "1.5e-4", "1.e", "0x1F", "0xg"]
MORE = ["0", '"a"', '"\\n"', '"\\C3"', '"', "//c", "//", "/", "...", ".", "é", "²", "@f", '@"f"', "a.b$_1", "_"]
BLANKS = ["\n", "\t", " "]


def tokens(lexer: MLIRLexer) -> list[object]:
    found: list[object] = []
    while True:
        try:
            token = lexer.lex()
        except ParseError as error:
            return [*found, (error.span.start, error.span.end, error.msg)]
        found.append((token.kind, type(token.span), token.span.start, token.span.end, lexer.pos))
        if token.kind is MLIRTokenKind.EOF:
            return found


def same(text: str) -> None:
    assert tokens(QuickLexer(Input(text, "t"))) == tokens(MLIRLexer(Input(text, "t")))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_tokens_of_modules(path: Path) -> None:
    same(path.read_text())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, *MORE, *BLANKS]) | st.text(max_size=2), max_size=8))
def test_tokens_of_anything(pieces: list[str]) -> None:
    same("".join(pieces))
