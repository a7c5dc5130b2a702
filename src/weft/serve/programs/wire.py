"""What a server and the process of a program say to each other: one JSON message a line, either way."""

from typing import Any

import msgspec
from msgspec import Struct


class Begin(Struct, frozen=True, tag="begin"):
    """One run. `messages` as OpenAI's API has them. `thread`: where its state is kept, so that it goes on from there;
    empty: nowhere. `streams`: its reply is wanted piece by piece."""

    run: str
    messages: list[dict[str, Any]]
    thread: str = ""
    streams: bool = False


class Resume(Struct, frozen=True, tag="resume"):
    """What persons said, by what they were asked."""

    run: str
    answers: dict[str, Any]


class Forget(Struct, frozen=True, tag="forget"):
    thread: str


class Cancel(Struct, frozen=True, tag="cancel"):
    run: str


class Answer(Struct, frozen=True, tag="answer"):
    """To an Ask: a chat completion, or why there is none."""

    ask: int
    completion: dict[str, Any] | None = None
    refused: str = ""


ToProgram = Begin | Resume | Cancel | Forget | Answer


class Loaded(Struct, frozen=True, tag="loaded"):
    """`takes`: the names of the graph's inputs."""

    takes: list[str]


class NotLoaded(Struct, frozen=True, tag="not_loaded"):
    problem: str
    way_out: str


class Ask(Struct, frozen=True, tag="ask"):
    """A model is called. `node`: where in the graph, as a plan names it (supervisor/agent). `place`: the same with the
    tasks, which are those of before when a run goes on. `replies`: perhaps its text is the run's, word by word."""

    run: str
    ask: int
    node: str
    model: str
    request: dict[str, Any]
    place: str = ""
    replies: bool = False


class Replies(Struct, frozen=True, tag="replies"):
    """The text of this call is the run's: nothing comes after it."""

    run: str
    ask: int


class Waiting(Struct, frozen=True):
    """`id` of the question, the same when the run goes on after a crash; `node` asks it, and shows `shown`."""

    id: str
    node: str
    shown: Any


class Waits(Struct, frozen=True, tag="waits"):
    """The run stands still until all are answered."""

    run: str
    waiting: list[Waiting]


class Ended(Struct, frozen=True, tag="ended"):
    run: str
    text: str


class Failed(Struct, frozen=True, tag="failed"):
    """`wrong_input`: it is the caller's fault."""

    run: str
    problem: str
    way_out: str = "see the program's own log"
    wrong_input: bool = False


FromProgram = Loaded | NotLoaded | Ask | Replies | Waits | Ended | Failed

encode = msgspec.json.Encoder().encode
to_program: msgspec.json.Decoder[ToProgram] = msgspec.json.Decoder(ToProgram)
from_program: msgspec.json.Decoder[FromProgram] = msgspec.json.Decoder(FromProgram)
