"""Random agents as text of IR: data, models, tools with and without effects, media, retrieval, people; branches, loops,
maps, calls.

Each is free of races: what has an effect waits for the effects before it in its block. Each ends: what a loop carries
changes with every turn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

MODELS = ("llama-3-8b", "qwen2.5-7b")
PROMPTS = ("be brief", "use the tools")
TEXT, CHAT, AUDIO, STREAM = "!agent.text", "!agent.messages", "!agent.audio", "!agent.stream<!agent.text>"
DEEPEST = 2

Value = tuple[str, str]
"""Name and type."""


@dataclass
class Names:
    used: int = 0

    def new(self, prefix: str) -> str:
        self.used += 1
        return f"{prefix}{self.used}"


@dataclass
class Writer:
    """Writes one function, statement by statement. `texts` and `others` are the values at hand, `latest` the value that
    waits for all effects of the block so far, `room` how many statements may still come, `said` pure steps to repeat.
    A worker writes nothing; no map stands in a loop."""

    draw: st.DrawFn
    names: Names
    callees: list[str]
    workers: list[str]
    is_worker: bool
    room: int
    texts: list[str] = field(default_factory=list[str])
    others: list[Value] = field(default_factory=list[Value])
    said: list[str] = field(default_factory=list[str])
    lines: list[str] = field(default_factory=list[str])
    latest: str = ""
    looping: bool = False

    def one(self, *choices: object) -> object:
        return self.draw(st.sampled_from(choices))

    def statements(self, depth: int) -> None:
        for _ in range(self.draw(st.integers(1, 4))):
            if self.room > 0:
                self.room -= 1
                self.draw(st.sampled_from(self.kinds(depth)))(depth)

    def kinds(self, depth: int) -> list[Callable[[int], None]]:
        kinds = [self.data, self.data, self.model, self.search, self.tool, self.media, self.again]
        if depth < DEEPEST:
            kinds += [self.branch, self.loop]
        if self.callees and not self.is_worker:
            kinds += [self.call]
        if self.workers and not self.looping:
            kinds += [self.map]
        return kinds if self.is_worker else [*kinds, self.person]

    # --- values

    def text(self) -> str:
        return self.draw(st.sampled_from(self.texts))

    def anything(self) -> Value:
        return self.draw(st.sampled_from([*((each, TEXT) for each in self.texts), *self.others]))

    def settled(self) -> str:
        """A text that comes after all effects of the block."""
        text = self.text()
        return self.apply("settle", [(text, TEXT), (self.latest, TEXT)], TEXT) if self.latest else text

    def apply(self, function: str, inputs: list[Value], gives: str) -> str:
        names, types = (", ".join(each) for each in zip(*inputs, strict=True))
        call = f'data.apply "{{}}"({names}) function "{function}" {{{{core_s = 0.002 : f64}}}} : ({types}) -> {gives}'
        return self.say(call)

    def say(self, call: str, *, pure: bool = True) -> str:
        """`call` has a place for the step's name."""
        value = self.names.new("%v")
        self.lines.append(f"{value} = {call.format(self.names.new('s'))}")
        if pure:
            self.said.append(call)
        return value

    # --- statements

    def data(self, _: int) -> None:
        inputs = [self.anything() for _ in range(self.draw(st.integers(1, 2)))]
        self.texts.append(self.apply(str(self.one("trim", "lower")), inputs, TEXT))

    def model(self, _: int) -> None:
        chat = self.apply("ask", [self.anything()], CHAT)
        told = f"isl = {self.one(300, 600)} : i64, osl = 40 : i64, max_tokens = 96 : i64"
        told += str(self.one("", ", temperature = 0.0 : f64"))
        told += str(self.one("", *(f', prefix = "{each}", prefix_tokens = 100 : i64' for each in PROMPTS)))
        chunks = self.draw(st.booleans())
        told += ", chunk_tokens = 20 : i64" if chunks else ""
        gives = STREAM if chunks else TEXT
        call = f'llm.call "{{}}"({chat}) model "{self.one(*MODELS)}" {{{{{told}}}}} : ({CHAT}) -> {gives}'
        reply = self.say(call)
        if chunks:
            self.others.append((reply, STREAM))
        else:
            self.texts.append(reply)

    def search(self, _: int) -> None:
        told = '{{corpus = "manuals", core_s = 0.01 : f64}}'
        self.texts.append(self.say(f'tool.invoke "{{}}"({self.text()}) tool "search" {told} : ({TEXT}) -> {TEXT}'))

    def tool(self, _: int) -> None:
        effects = ("none", "reads") if self.is_worker else ("none", "reads", "reads", "idempotent", "writes", "")
        effect = self.one(*effects)
        query = self.text() if effect == "none" else self.settled()
        told = f', effect = "{effect}"' if effect else ""
        told += str(self.one("", ", lookup_share = 0.5 : f64"))
        call = f'tool.invoke "{{}}"({query}) tool "{self.one("mail", "log")}" {{{{core_s = 0.01 : f64{told}}}}}'
        found = self.say(f"{call} : ({TEXT}) -> {TEXT}", pure=effect in ("none", "reads"))
        self.texts.append(found)
        if effect != "none":
            self.latest = found

    def media(self, _: int) -> None:
        value, kind = self.anything()
        if kind == AUDIO:
            told = '{{model = "stt", core_s = 0.1 : f64}}'
            self.texts.append(self.say(f'media.transcribe "{{}}"({value}) {told} : ({AUDIO}) -> {TEXT}'))
        else:
            told = '{{voice = "en-us", core_s = 0.1 : f64}}'
            self.others.append((self.say(f'media.synthesize "{{}}"({value}) {told} : ({kind}) -> {AUDIO}'), AUDIO))

    def again(self, _: int) -> None:
        """The same step once more; what it gives is a text or of no use."""
        if self.said:
            call = self.draw(st.sampled_from(self.said))
            value = self.say(call)
            if call.endswith(f"-> {TEXT}"):
                self.texts.append(value)
                if '"reads"' in call and self.latest:
                    self.latest = self.apply("settle", [(value, TEXT), (self.latest, TEXT)], TEXT)

    def person(self, _: int) -> None:
        call = f'agent.interrupt "{{}}"({self.settled()}) {{{{core_s = 0.0001 : f64}}}} : ({TEXT}) -> {TEXT}'
        self.latest = self.say(call, pure=False)
        self.texts.append(self.latest)

    def call(self, _: int) -> None:
        asked, value = self.settled(), self.names.new("%v")
        self.lines.append(f"{value} = func.call @{self.one(*self.callees)}({asked}) : ({TEXT}) -> {TEXT}")
        self.latest = value
        self.texts.append(value)

    def map(self, _: int) -> None:
        items, width = self.apply("list", [(self.settled(), TEXT)], CHAT), self.one("1.0", "2.0", "2.4")
        told = f"{{{{width = {width} : f64}}}}"
        done = self.say(f'agent.map "{{}}" @{self.one(*self.workers)}({items}) {told} : ({CHAT}) -> {CHAT}', pure=False)
        self.latest = self.apply("read", [(done, CHAT)], TEXT)
        self.texts.append(self.latest)

    def branch(self, depth: int) -> None:
        several = self.draw(st.booleans())
        sides = [self.names.new("side") for _ in range(3 if several else 2)]
        if several:
            chosen = self.choose('labels = ["a", "b", "c"], ', "i32")
            cases = ", ".join([f"default: ^{sides[0]}", f"1: ^{sides[1]}", f"2: ^{sides[2]}"])
            self.lines.append(f"cf.switch {chosen} : i32, [{cases}] {{agent.weights = [0.5, 0.25, 0.25]}}")
        else:
            chosen = self.choose("", "i1")
            self.lines.append(f"cf.cond_br {chosen}, ^{sides[0]}, ^{sides[1]} {{agent.weights = [0.4, 0.6]}}")
        join, met = self.names.new("join"), self.names.new("%v")
        for side in sides:
            self.side(f"^{side}:", depth, lambda: f"cf.br ^{join}({self.text()} : {TEXT})")
        self.open(f"^{join}({met}: {TEXT}):")
        self.texts.append(met)

    def loop(self, depth: int) -> None:
        head, body, end, state = (self.names.new(each) for each in ("head", "body", "end", "%v"))
        self.lines.append(f"cf.br ^{head}({self.text()} : {TEXT})")
        self.open(f"^{head}({state}: {TEXT}):")
        self.texts.append(state)
        chosen = self.choose("", "i1", state)
        bound = self.one("", ", agent.at_most = 1 : i64", ", agent.at_most = 2 : i64")
        self.lines.append(f"cf.cond_br {chosen}, ^{body}, ^{end} {{agent.weights = [0.5, 0.5]{bound}}}")

        def back() -> str:
            turned = self.apply("turn", [(state, TEXT), (self.text(), TEXT)], TEXT)
            return f"cf.br ^{head}({turned} : {TEXT})"

        around, self.looping = self.looping, True
        self.side(f"^{body}:", depth, back)
        self.looping = around
        self.open(f"^{end}:")

    def choose(self, labels: str, gives: str, on: str = "") -> str:
        about, kind = (on, TEXT) if on else self.anything()
        told = f"{{{{{labels}core_s = 0.0001 : f64}}}}"
        return self.say(f'agent.choose "{{}}"({about}) function "good" {told} : ({kind}) -> {gives}', pure=False)

    def side(self, label: str, depth: int, end: Callable[[], str]) -> None:
        kept = list(self.texts), list(self.others), list(self.said)
        self.open(label)
        self.statements(depth + 1)
        self.lines.append(end())
        self.texts, self.others, self.said = kept

    def open(self, label: str) -> None:
        self.lines.append(label)
        self.latest = ""


def _function(name: str, takes: str, gives: str, body: Writer, told: str = "") -> str:
    lines = "\n".join(line if line.startswith("^") else f"  {line}" for line in body.lines)
    return f"func.func @{name}({takes}) -> {gives}{told} {{\n{lines}\n}}\n"


@st.composite
def agents(draw: st.DrawFn, statements: int = 14) -> str:
    """A module: an agent, and functions that it may call and map."""
    names, callees, workers, text = Names(), list[str](), list[str](), ""
    for number in range(draw(st.integers(0, 2))):
        inner = Writer(draw, names, list(callees), [], False, 4, ["%asked"])
        inner.statements(1)
        inner.lines.append(f"func.return {inner.text()} : {TEXT}")
        text += _function(f"sub{number}", f"%asked: {TEXT}", TEXT, inner)
        callees.append(f"sub{number}")
    for number in range(draw(st.integers(0, 1))):
        inner = Writer(draw, names, [], [], True, 3)
        inner.texts.append(inner.apply("open", [("%item", CHAT)], TEXT))
        inner.statements(DEEPEST - 1)
        inner.lines.append(f"func.return {inner.apply('close', [(inner.text(), TEXT)], CHAT)} : {CHAT}")
        text += _function(f"work{number}", f"%item: {CHAT}", CHAT, inner)
        workers.append(f"work{number}")
    main = Writer(draw, names, callees, workers, False, statements, ["%question"], [("%speech", AUDIO)])
    main.statements(0)
    main.lines.append(f"func.return {main.text()} : {TEXT}")
    takes = f"%question: {TEXT}, %speech: {AUDIO}"
    return text + _function("agent", takes, TEXT, main, " attributes {agent.graph}")
