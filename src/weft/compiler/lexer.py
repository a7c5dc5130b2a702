"""xDSL's lexer, a token at one stroke: most tokens of a module are matched by one regular expression instead of several
calls each. What that does not know (escapes, hexadecimal numbers, errors) is left to xDSL; the tokens are the same.
"""

import re
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.parser import Parser
from xdsl.parser.generic_parser import ParserState
from xdsl.utils.lexer import Input, Span, Token
from xdsl.utils.mlir_lexer import KIND_BY_PUNCTUATION_SPELLING, MLIRLexer, MLIRToken, MLIRTokenKind, StringLiteral

_SUFFIX = r"(?:[0-9]+|[a-zA-Z$._-][a-zA-Z0-9$._-]*)"
_TOKEN = re.compile(
    rf"""(?:\s++|//[^\n]*+)*+(?:
    (?P<punctuation>->|[:,()}}\[\]<>=+/*?|-]|\{{(?!-\#))
    |(?P<BARE_IDENT>[a-zA-Z_][a-zA-Z0-9_$.]*)
    |(?P<PERCENT_IDENT>%{_SUFFIX})
    |(?P<EXCLAMATION_IDENT>!{_SUFFIX})
    |(?P<CARET_IDENT>\^{_SUFFIX})
    |(?P<STRING_LIT>"[^"\\\n\v\f]*")
    |(?P<FLOAT_LIT>[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?)
    |(?P<INTEGER_LIT>(?!0x)[0-9]+)
    )""",
    re.ASCII | re.VERBOSE,
)
_KINDS = {name: MLIRTokenKind[name] for name in _TOKEN.groupindex if name != "punctuation"}


@dataclass
class QuickLexer(MLIRLexer):
    def lex(self) -> MLIRToken:
        found = _TOKEN.match(self.input.content, self.pos)
        if found is None or found.lastgroup is None:
            return super().lex()
        name = found.lastgroup
        start, self.pos = found.span(name)
        if name == "STRING_LIT":
            return Token(MLIRTokenKind.STRING_LIT, StringLiteral(start, self.pos, self.input))
        kind = _KINDS.get(name) or KIND_BY_PUNCTUATION_SPELLING[found[name]]
        return Token(kind, Span(start, self.pos, self.input))


class QuickParser(Parser):
    """xDSL's parser on this lexer."""

    def __init__(self, context: Context, text: str, name: str) -> None:
        super().__init__(context, "", name)
        self._parser_state = ParserState(QuickLexer(Input(text, name)))
