"""`weft demo`: the voice agent, from its program to a spoken answer."""

import json
from pathlib import Path
from typing import Annotated

import typer

from weft.cli.console import wide_console
from weft.cli.local import ASSETS, LocalJob, agent_input, local_models
from weft.cli.options import Fleet, Rate, Slo
from weft.cli.plan import show_plan
from weft.cli.run import Emulate, Model, Out, Stt, plan_with_passes, run_and_report
from weft.compiler.request import USUAL_SLO, CompileRequest, Needs, Rules, Supply

VOICE_AGENT = Path("examples/voice_agent.py")
DEFAULTS = CompileRequest(str(VOICE_AGENT))
HAND_OFF = "disaggregated"
"""The demo shows a KV cache on its way, also where one pool for both phases would cost less."""

Question = Annotated[str | None, typer.Option(help="Ask this, spoken by espeak-ng [default: a shipped recording].")]
Wav = Annotated[Path | None, typer.Option(help="Ask this recording.")]


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    question: Question = None,
    wav: Wav = None,
    emulate: Emulate = False,
    out: Out = Path("out"),
    model: Model = None,
    stt: Stt = None,
    fleet: Fleet = DEFAULTS.supply.fleet,
    slo: Slo = USUAL_SLO,
    rate: Rate = DEFAULTS.needs.rate_per_s,
) -> None:
    """Plan the voice agent on a mixed fleet, run it here as node processes, and answer a spoken question."""
    console = wide_console()
    console.rule("plan", align="left")
    deployment, passes = plan_with_passes(
        CompileRequest(str(VOICE_AGENT), Needs(slo=slo, rate_per_s=rate), Supply(fleet=fleet), Rules(serving=HAND_OFF))
    )
    show_plan(deployment, console)
    console.rule("run", align="left")
    if question is None and wav is None:
        wav, question_text = _shipped_question()
    else:
        question_text = question
    job = LocalJob(deployment, local_models(model, stt, None), agent_input(deployment, question, wav), emulate)
    console.print(f"Question: {question_text or wav}")
    story = run_and_report(job, passes, question_text, console, out)
    console.print(f"\n[bold]Answer:[/] {story.transcript.answer}")


def _shipped_question() -> tuple[Path, str]:
    """The first recording that comes with the package, and its words."""
    folder = ASSETS / "questions"
    first = json.loads((folder / "index.json").read_text())[0]
    return folder / first["file"], first["text"]
