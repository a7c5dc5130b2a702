"""The one-page report of a run: what was asked and answered, the plan and what it is worth, what each node did."""

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from weft.core.units import pretty_seconds, pretty_si, pretty_usd
from weft.report.story import RunStory

_ENVIRONMENT = Environment(
    loader=PackageLoader("weft.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_ENVIRONMENT.filters |= {
    "seconds": pretty_seconds,
    "usd": pretty_usd,
    "bytes": lambda value: pretty_si(float(value), "B"),  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
}


def write_page(story: RunStory, folder: Path) -> None:
    """folder/report.html: one file that needs nothing beside it; the folder's figures and sound are inlined."""
    page = _ENVIRONMENT.get_template("page.html.j2").render(
        story=story,
        plan=story.deployment,
        pools={pool.name: pool for pool in story.deployment.pools},
        answer_wav=_inline(folder / "answer.wav", "audio/wav"),
        timeline=_inline(folder / "timeline.png", "image/png"),
        alternatives=_inline(folder / "alternatives.png", "image/png"),
    )
    (folder / "report.html").write_text(page)


def _inline(path: Path, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
