"""The one-page report of a run: what was asked and answered, the plan and what it is worth, what each node did."""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord
from weft.core.units import pretty_seconds, pretty_si, pretty_usd
from weft.report.transcript import Transcript

_ENVIRONMENT = Environment(
    loader=PackageLoader("weft.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_ENVIRONMENT.filters |= {
    "seconds": pretty_seconds,
    "usd": pretty_usd,
    "bytes": lambda value: pretty_si(float(value), "B"),  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
}


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """All that the page shows. `hardware` says in one sentence what really ran; `passes` are (name, module text);
    `folder` holds answer.wav, timeline.png and alternatives.png."""

    deployment: Deployment
    record: RequestRecord
    transcript: Transcript
    hardware: str
    question: str | None
    passes: tuple[tuple[str, str], ...]
    folder: Path


def write_page(inputs: ReportInputs, path: Path) -> None:
    """One HTML file that needs nothing beside it: figures and sound are inlined."""
    page = _ENVIRONMENT.get_template("page.html.j2").render(
        plan=inputs.deployment,
        pools={pool.name: pool for pool in inputs.deployment.pools},
        record=inputs.record,
        transcript=inputs.transcript,
        hardware=inputs.hardware,
        question=inputs.question,
        passes=inputs.passes,
        answer_wav=_inline(inputs.folder / "answer.wav", "audio/wav"),
        timeline=_inline(inputs.folder / "timeline.png", "image/png"),
        alternatives=_inline(inputs.folder / "alternatives.png", "image/png"),
    )
    path.write_text(page)


def _inline(path: Path, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
