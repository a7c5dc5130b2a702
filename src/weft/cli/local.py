"""Running an agent once on this machine: the deployment's pools become processes here."""

import asyncio
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.status import Status
from rich.text import Text

from weft.control.backends.local import LocalFleet
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.core.message import Message
from weft.core.program import StepKind
from weft.core.units import pretty_usd
from weft.report.story import Passes, RunStory
from weft.report.transcript import Line, Transcript
from weft.runtime.steps.audio import Audio, read_wav
from weft.runtime.steps.synthesize import EspeakSynthesizer
from weft.runtime.values import Json, Value, as_text
from weft.serve.events import RunEvent, StepEnded, TokenPiece
from weft.serve.placement import LocalModels, node_specs
from weft.serve.run import RunOutcome, run_agent

INPUTS = ("audio", "text", "messages", "json")
ASSETS = Path(str(files("weft"))) / "assets"
MARKS = {
    StepKind.TRANSCRIBE: "heard",
    StepKind.PREFILL: "read",
    StepKind.KV_TRANSFER: "moved",
    StepKind.DECODE: "wrote",
    StepKind.SEARCH: "found",
    StepKind.TOOL: "did",
    StepKind.MEMORY_SEARCH: "found",
    StepKind.SYNTHESIZE: "spoke",
}


@dataclass(frozen=True, slots=True)
class LocalJob:
    """One run to be made here. `emulate`: nodes keep the planned pace of their devices."""

    deployment: Deployment
    models: LocalModels
    inputs: dict[str, Value]
    emulate: bool
    answers: tuple[str, ...] = ()
    """Of a person to the agent's interrupts, in their order; asked at the terminal when they are used up."""


def local_models(model: Path | None, stt: Path | None, corpus: Path | None) -> LocalModels:
    """The shipped small models and corpus, or what the user gives in their place."""
    return LocalModels(
        model_dir=model or ASSETS / "tiny-llama",
        stt_dir=stt or ASSETS / "tiny-stt",
        corpus=corpus or ASSETS / "corpus.jsonl",
    )


def spoken(text: str) -> bytes:
    """A question as a wav file, by espeak-ng."""
    pieces = list(EspeakSynthesizer().synthesize(text))
    return Audio(np.concatenate([piece.samples for piece in pieces]), pieces[0].rate_hz).to_wav_bytes()


def agent_input(deployment: Deployment, text: str | None, wav: Path | None) -> dict[str, Value]:
    """The agent's one input from --text or --wav; text is spoken to an agent that listens."""
    program = deployment.program
    if len(program.input_types) != 1 or program.input_types[0] not in INPUTS:
        raise _unfit(f"takes {list(program.input_types)}", f"run agents with one input: {', '.join(INPUTS)}")
    if (text is None) == (wav is None):
        raise _unfit("needs exactly one of --text and --wav", "give one of them")
    wants_audio = program.input_types[0] == "audio"
    if wav is not None and not wants_audio:
        raise _unfit("takes text, --wav is sound", "use --text")
    if wav is not None:
        return {program.entry.parameters[0]: read_wav(wav).to_wav_bytes()}
    assert text is not None
    return {program.entry.parameters[0]: _as_input(text, program.input_types[0])}


def _as_input(text: str, kind: str) -> Value:
    match kind:
        case "audio":
            return spoken(text)
        case "messages":
            return (Message("user", text),)
        case "json":
            return Json(msgspec.json.decode(text))
        case _:
            return text


def run_locally(job: LocalJob, passes: Passes, question: str | None, console: Console) -> RunStory:
    """Starts the nodes, runs the agent once, stops them; tells on `console` what happens."""
    transcript = Transcript(job.deployment.program)
    outcome = asyncio.run(_run(job, transcript, console))
    answer = outcome.values[0]
    return RunStory(
        deployment=job.deployment,
        passes=passes,
        question=question,
        hardware=hardware_sentence(job),
        record=outcome.record,
        transcript=transcript,
        answer_wav=answer if isinstance(answer, bytes) else spoken(str(answer)),
        late_s=outcome.late_s,
    )


async def _run(job: LocalJob, transcript: Transcript, console: Console) -> RunOutcome:
    specs = node_specs(job.deployment, job.models, emulate=job.emulate)
    with console.status(f"starting {len(specs)} node processes: {', '.join(spec.name for spec in specs)}") as status:
        async with LocalFleet(specs) as fleet:
            status.update("running the agent")
            teller = _Teller(console, status, transcript)
            person = _Person(console, status, list(job.answers))
            outcome = await run_agent(job.deployment, fleet.clients, job.inputs, teller.on_event, person.ask)
            if teller.usd:
                console.print(f"Servers that are not yours charge {pretty_usd(teller.usd)} for this run.")
            return outcome


@dataclass(slots=True)
class _Person:
    """Answers interrupts: with what was given on the command line, then at the terminal. An empty answer lets what was
    shown go on as it is; to a conversation an answer is one more message."""

    console: Console
    status: Status
    answers: list[str]

    async def ask(self, step: str, shown: Value) -> Value:
        answer = self.answers.pop(0) if self.answers else await asyncio.to_thread(self._asked, step, shown)
        if not answer:
            return shown
        return (*shown, Message("user", answer)) if isinstance(shown, tuple) else answer

    def _asked(self, step: str, shown: Value) -> str:
        if not sys.stdin.isatty():
            raise _unfit(f"step {step!r} waits for a person, and nobody is at a terminal", "give --answer")
        self.status.stop()
        self.console.print(f"{step}: {as_text(shown)}", markup=False)
        answer = self.console.input("your answer (empty: go on) > ")
        self.status.start()
        return answer


@dataclass(slots=True)
class _Teller:
    """Prints a line when a step ends; shows a reply while it is being written."""

    console: Console
    status: Status
    transcript: Transcript
    reply: str = ""
    usd: float = 0.0

    def on_event(self, event: RunEvent) -> None:
        match event:
            case TokenPiece():
                self.reply += event.text
                self.status.update(Text(f"{event.step}: {self.reply}"))
            case StepEnded():
                self.reply = ""
                self.usd += event.metrics.usd
                if line := self.transcript.add(event):
                    _tell(self.console, line)
            case _:
                pass


def hardware_sentence(job: LocalJob) -> str:
    """What really ran: every output of a run carries it."""
    devices = ", ".join(sorted({pool.device for pool in job.deployment.pools}))
    where = "Every node is a process on this machine's CPU, running small models"
    if job.emulate:
        return f"{where}, slowed to the planned pace of the emulated devices: {devices} (emulated, not measured)."
    return f"{where}; its times are this CPU's. The plan's devices ({devices}) are not here, and not emulated."


def _tell(console: Console, line: Line) -> None:
    where = f"{line.record.duration_s:6.3f} s on {line.record.node}"
    console.print(f"  [bold]{MARKS[line.kind]:>6}[/]  ", end="")
    console.print(line.text, style="default", markup=False, highlight=False, end="  ")
    console.print(f"({line.step}, {where.strip()})", style="dim", markup=False, highlight=False)


def _unfit(problem: str, way_out: str) -> InputError:
    return InputError(subject="weft run", problem=problem, way_out=way_out)
