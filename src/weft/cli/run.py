"""`weft run`: plan an agent and run it once on this machine."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from weft.cli.bundled import Bundle, Code, is_bundle, open_bundle, pool_models, told
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.local import LocalJob, agent_input, hardware_sentence, local_models, run_locally
from weft.cli.options import AskOptions
from weft.compiler.parse import print_module
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import CompileRequest
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.core.units import pretty_seconds
from weft.report.bundle import write_bundle
from weft.report.story import Passes, RunStory
from weft.runtime.remote_spec import read_remotes
from weft.serve.runnable import refuse_not_runnable

Text = Annotated[str | None, typer.Option(help="What to ask; an agent that listens hears it spoken.")]
Wav = Annotated[Path | None, typer.Option(help="A recorded question.")]
Model = Annotated[
    Path | None, typer.Option(help="A Hugging Face Llama, Mistral, Qwen2 or Qwen3 directory for every LLM.")
]
Stt = Annotated[Path | None, typer.Option(help="A Hugging Face Wav2Vec2-CTC or Whisper directory.")]
Corpus = Annotated[Path | None, typer.Option(help="JSON lines with id, title, spoken, text.")]
Embed = Annotated[Path | None, typer.Option(help="A Hugging Face embedding model's directory.")]
Rerank = Annotated[Path | None, typer.Option(help="A Hugging Face reranker's directory, for memories.")]
Memory = Annotated[
    list[str] | None,
    typer.Option(help="NAME=ADDRESS of a memory: a file, x.sqlite, lancedb:…, qdrant:…."),
]
Remote = Annotated[Path | None, typer.Option(help="TOML with a [[remote]] for each model that a server runs.")]
Answers = Annotated[list[str] | None, typer.Option(help="Of a person, where the agent waits for one; in order.")]
Emulate = Annotated[bool, typer.Option("--emulate", help="Slow each node to the planned pace of its device.")]
Ranks = Annotated[bool, typer.Option("--ranks", help="Start the plan's tensor-parallel ranks, each a process here.")]
Out = Annotated[Path, typer.Option(help="Folder for the answer, plan, IR, figures and report.")]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is asked of the agent, with which models, and where the answer goes."""

    text: Text = None
    wav: Wav = None
    model: Model = None
    stt: Stt = None
    corpus: Corpus = None
    embed: Embed = None
    rerank: Rerank = None
    memory: Memory = None
    remote: Remote = None
    code: Code = None
    answer: Answers = None
    emulate: Emulate = False
    ranks: Ranks = False
    out: Out = Path("out")


def register(app: typer.Typer) -> None:
    app.command("run")(grouped(run))


def run(asked: AskOptions, wanted: RunOptions) -> None:
    """Plan an agent, start its nodes here as processes, ask it one question, write what happened.

    In place of an agent: a bundle of `weft compile`, whose generated code the nodes run."""
    console = wide_console()
    bundle = bundle_of(asked)
    if wanted.code and bundle is None:
        raise InputError(subject="--code", problem="chooses among the code of a bundle", way_out="run a bundle")
    deployment, passes = plan_with_passes(asked.request()) if bundle is None else planned(bundle)
    models = replace(
        local_models(wanted.model, wanted.stt, wanted.corpus),
        embed_dir=wanted.embed,
        rerank_dir=wanted.rerank,
        remotes={each.model: each for each in read_remotes(wanted.remote)} if wanted.remote else {},
        memories=named(wanted.memory or (), "--memory"),
        pools={} if bundle is None else pool_models(bundle, wanted.code or (), wanted.model),
        ranks=wanted.ranks,
    )
    if models.pools:
        console.print(told(models.pools))
    refuse_not_runnable(deployment, models)
    given = agent_input(deployment, wanted.text, wanted.wav)
    job = LocalJob(deployment, models, given, wanted.emulate, tuple(wanted.answer or ()))
    run_and_report(job, passes, wanted.text, console, wanted.out)


def bundle_of(asked: AskOptions) -> Bundle | None:
    """The agent that is asked for is one."""
    if not is_bundle(asked.agent):
        return None
    if asked.request() != CompileRequest(asked.agent):
        problem, way_out = "has its plan: options of planning would change nothing", "leave them out"
        raise InputError(subject=asked.agent, problem=problem, way_out=way_out)
    return open_bundle(asked.agent)


def planned(bundle: Bundle) -> tuple[Deployment, Passes]:
    """The bundle holds what came of the passes, not each of them."""
    return bundle.plan, (("place", (bundle.folder / "agent.mlir").read_text("utf-8")),)


def named(pairs: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=ADDRESS` each."""
    split = [pair.partition("=") for pair in pairs]
    for name, equals, address in split:
        if not (name and equals and address):
            way_out = f"write {option} NAME=ADDRESS"
            raise InputError(subject=option, problem=f"{name + equals + address!r} is no NAME=ADDRESS", way_out=way_out)
    return {name: address for name, _, address in split}


def plan_with_passes(request: CompileRequest) -> tuple[Deployment, Passes]:
    """The plan, and the module's text after each pass."""
    passes: list[tuple[str, str]] = []
    deployment = compile_agent(request, lambda name, module: passes.append((name, print_module(module))))
    return deployment, tuple(passes)


def run_and_report(job: LocalJob, passes: Passes, question: str | None, console: Console, out: Path) -> RunStory:
    console.print(hardware_sentence(job), style="yellow")
    story = run_locally(job, passes, question, console)
    _tell_lateness(story, console)
    with console.status("writing figures and report"):
        names = write_bundle(out, story)
    console.print(f"\nThe run took {pretty_seconds(story.record.ended_s)} here. {out}/: {', '.join(names)}")
    return story


def _tell_lateness(story: RunStory, console: Console) -> None:
    """An emulated device that this machine cannot keep up with is told, not hidden."""
    late = ", ".join(f"{step} {pretty_seconds(late_s)}" for step, late_s in story.late_s.items())
    if late:
        console.print(f"Slower here than the emulated pace by: {late}", style="yellow")
