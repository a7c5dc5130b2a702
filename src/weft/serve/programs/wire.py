"""What a server and the process of a program say to each other: one JSON message a line, either way."""

from typing import Any

import msgspec
from msgspec import Struct


class Begin(Struct, frozen=True, tag="begin"):
    """One run. `messages` as OpenAI's API has them, `resume`: what a person says to the run that waits."""

    run: str
    messages: list[dict[str, Any]]


class Cancel(Struct, frozen=True, tag="cancel"):
    run: str


class Answer(Struct, frozen=True, tag="answer"):
    """To an Ask: a chat completion, or why there is none."""

    ask: int
    completion: dict[str, Any] | None = None
    refused: str = ""


ToProgram = Begin | Cancel | Answer


class Loaded(Struct, frozen=True, tag="loaded"):
    """`takes`: the names of the graph's inputs."""

    takes: list[str]


class NotLoaded(Struct, frozen=True, tag="not_loaded"):
    problem: str
    way_out: str


class Ask(Struct, frozen=True, tag="ask"):
    """A model is called. `node`: where in the graph, as a plan names it (supervisor/agent)."""

    run: str
    ask: int
    node: str
    model: str
    request: dict[str, Any]


class Ended(Struct, frozen=True, tag="ended"):
    run: str
    text: str


class Failed(Struct, frozen=True, tag="failed"):
    """`wrong_input`: it is the caller's fault."""

    run: str
    problem: str
    way_out: str = "see the program's own log"
    wrong_input: bool = False


FromProgram = Loaded | NotLoaded | Ask | Ended | Failed

encode = msgspec.json.Encoder().encode
to_program: msgspec.json.Decoder[ToProgram] = msgspec.json.Decoder(ToProgram)
from_program: msgspec.json.Decoder[FromProgram] = msgspec.json.Decoder(FromProgram)
