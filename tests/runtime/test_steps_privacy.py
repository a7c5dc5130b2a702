"""Personal data is taken out, and what only looks like it stays."""

import pytest

from weft.agent import redact as declare
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import CompileRequest
from weft.core.errors import ProgramError, StepFailedError
from weft.core.message import Called, Message
from weft.core.program import PERSONAL, REMOVES, StepKind
from weft.runtime.steps.glue import GLUE
from weft.runtime.steps.privacy import redacted
from weft.runtime.values import Docs, Items, Json, Passage, Value

ALL = (
    ("Write to jane.doe+x@mail.example.co.uk.", "Write to [email]."),
    ("Call +49 30 901820 or (212) 555-0188 today", "Call [phone] or [phone] today"),
    ("card 4111 1111 1111 1111, not 4111 1111 1111 1112", "card [credit_card], not 4111 1111 1111 1112"),
    ("to DE89 3704 0044 0532 0130 00 BERLIN", "to [iban] BERLIN"),
    ("ssn 536-90-4399", "ssn [ssn]"),
    ("from 10.0.0.1, fe80::1 and 999.1.1.1 at 12:30:45", "from [ip], [ip] and 999.1.1.1 at 12:30:45"),
    ("An H100 has 80 GB, costs 30,000 dollars and came in 2022-09-20.", None),
    ("", None),
)


@pytest.mark.parametrize(("text", "clean"), ALL)
def test_what_is_personal_is_taken_out(text: str, clean: str | None) -> None:
    assert redacted(text, PERSONAL) == (text if clean is None else clean)
    assert redacted(redacted(text, PERSONAL), PERSONAL) == redacted(text, PERSONAL)
    assert redacted(text, ()) == text


def test_every_value_is_cleaned_through_and_through() -> None:
    mail, gone = "a@b.org", "[email]"
    dirty: list[tuple[Value, Value]] = [
        (
            (Message("user", mail, (Called("1", "f", mail),), "c"),),
            (Message("user", gone, (Called("1", "f", gone),), "c"),),
        ),
        (Docs((Passage("i", mail, mail, mail),)), Docs((Passage("i", gone, gone, gone),))),
        (Items((mail, 3, Json({"x": [mail, None, 1.5]}))), Items((gone, 3, Json({"x": [gone, None, 1.5]})))),
        (b"sound", b"sound"),
    ]
    for value, clean in dirty:
        assert GLUE["redact"]("s", {REMOVES: "email"}, [value]) == clean
    with pytest.raises(StepFailedError, match="name some of"):
        GLUE["redact"]("s", {REMOVES: "soul"}, [mail])
    with pytest.raises(ProgramError, match="soul"):
        declare("soul")


def test_a_program_says_what_is_taken_out_before_its_model() -> None:
    program = compile_agent(CompileRequest("examples/private_agent.py")).program
    first, *rest = program.steps
    assert (first.kind, first.attributes["function"]) == (StepKind.APPLY, "redact")
    assert first.attributes[REMOVES] == "email | phone | credit_card"
    assert rest[0].kind is StepKind.PREFILL and rest[0].inputs == first.outputs
