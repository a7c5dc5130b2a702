"""`weft.agent` programs become control-flow graphs; what is not part of the language is refused with its line."""

from pathlib import Path

import pytest

from weft.agent import llm
from weft.compiler.frontends.python import import_agent, load_agent
from weft.compiler.parse import parse_module, print_module, verify
from weft.core.errors import ProgramError

VOICE = Path(__file__).parents[2] / "examples" / "voice_agent.py"

PRELUDE = """
from weft.agent import *

think = llm(model="llama-3-8b", isl=8, osl=4, max_tokens=9)
polish = llm(model="llama-3-8b", isl=8, osl=4, max_tokens=9)

@data
def chat_of(text: Text) -> Messages:
    return (Message("user", text),)

@choice
def long(text: Text) -> bool:
    return len(text) > 9

@agent
def graph(question: Text) -> Text:
"""


def _import(tmp_path: Path, body: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(PRELUDE + "".join(f"    {line}\n" for line in body.splitlines()))
    module = import_agent(load_agent(str(path)), str(path))
    verify(module, "imported")
    return print_module(module)


def test_the_voice_agent_is_one_loop() -> None:
    text = print_module(import_agent(load_agent(str(VOICE)), str(VOICE)))
    assert text.count("cf.cond_br") == 1
    assert "agent.at_most = 3" in text
    assert 'llm.call "think"' in text
    assert "^think(" in text, "blocks are called after their first step"


def test_printing_and_parsing_are_inverse() -> None:
    text = print_module(import_agent(load_agent(f"{VOICE}:voice"), "voice"))
    assert print_module(parse_module(text, "again")) == text


def test_a_branch_joins_on_the_variables_that_differ(tmp_path: Path) -> None:
    text = _import(
        tmp_path,
        "reply = think(chat_of(question))\n"
        "if branch(long(reply), probability=0.2):\n"
        "    reply = polish(chat_of.named('shorten')(reply))\n"
        "return reply",
    )
    assert "cf.br ^bb" in text or "cf.br ^" in text
    assert text.count("!agent.text):") >= 1, "the join block takes the reply"


def test_early_returns_leave_no_join(tmp_path: Path) -> None:
    text = _import(
        tmp_path,
        "reply = think(chat_of(question))\nif branch(long(reply), probability=0.2):\n    return question\nreturn reply",
    )
    assert text.count("func.return") == 2


@pytest.mark.parametrize(
    ("body", "line", "problem"),
    [
        (
            "while long(question):\n    question = think(chat_of(question))\nreturn question",
            17,
            "no probability or bound",
        ),
        (
            "while repeat(long(question), probability=0.5):\n    question = think(chat_of(question))\nreturn question",
            17,
            r"\['at_most', 'probability'\] are needed",
        ),
        ("if branch(long(question), probability=1.5):\n    pass\nreturn question", 17, "probability is 1.5"),
        (
            "while repeat(long(question), probability=0.5, at_most=0):\n    pass\nreturn question",
            17,
            "at_most is 0",
        ),
        ("return question + '!'", 17, "is not a step call"),
        ("for x in question:\n    pass\nreturn question", 17, "For is not part of the agent language"),
        ("return think(question)", 17, r"takes \(!agent.messages\), got \(!agent.text\)"),
        ("return print(question)", 17, "'print' is not a declared step"),
        ("a = think(chat_of(question))\nreturn think(chat_of(a))", 18, "'think' is called a second time"),
        ("return chat_of(question)", 17, "returns !agent.messages, !agent.text is declared"),
        ("question = think(chat_of(question))", 17, "can end without a result"),
        ("return question\nreturn question", 18, "never reached"),
        ("return answer", 17, "'answer' has no value on every path"),
    ],
)
def test_what_the_language_lacks_is_refused_with_its_line(tmp_path: Path, body: str, line: int, problem: str) -> None:
    with pytest.raises(ProgramError, match=rf"program.py:{line}: .*{problem}"):
        _import(tmp_path, body)


@pytest.mark.parametrize(
    ("name", "source", "problem"),
    [
        ("missing.py", None, "is not a Python file"),
        ("broken.py", "def (", "does not parse"),
        ("import_error.py", "import no_such_module_here", "cannot be imported"),
        ("empty.py", "", "holds 0 agents"),
    ],
)
def test_unreadable_programs_are_refused(tmp_path: Path, name: str, source: str | None, problem: str) -> None:
    path = tmp_path / name
    if source is not None:
        path.write_text(source)
    with pytest.raises(ProgramError, match=problem):
        load_agent(str(path))


@pytest.mark.parametrize("models", [(), ("llama-3-8b", "llama-3-8b")])
def test_a_call_names_one_model_or_several_different_ones(models: tuple[str, ...]) -> None:
    with pytest.raises(ProgramError, match="one model or several different ones"):
        llm(model=models, isl=1, osl=1, max_tokens=1)
