"""Everything a run leaves in its output folder, written whole or not at all."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from weft.core.deployment_json import encode
from weft.report.figures import draw_alternatives, draw_timeline
from weft.report.page import write_page
from weft.report.story import Passes, RunStory


def write_bundle(out: Path, story: RunStory) -> tuple[str, ...]:
    """Writes answer.wav, plan.json, run.json, agent.mlir, passes/, two figures and report.html; returns the names.

    All is made in a folder beside `out` first, so that a failure leaves an older run's files as they were.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        (fresh / "answer.wav").write_bytes(story.answer_wav)
        (fresh / "plan.json").write_bytes(encode(story.deployment))
        (fresh / "run.json").write_bytes(_run_json(story))
        _write_passes(fresh, story.passes)
        draw_timeline(story.record, fresh / "timeline.png", story.hardware)
        draw_alternatives(story.deployment, fresh / "alternatives.png")
        write_page(story, fresh)
        return _move_into(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _run_json(story: RunStory) -> bytes:
    """The run for machines: what was said, and when each step ran where."""
    said = [{"step": line.step, "kind": line.kind, "text": line.text} for line in story.transcript.lines]
    told = {
        "hardware": story.hardware,
        "question": story.question,
        "heard": story.transcript.heard,
        "answer": story.transcript.answer,
        "said": said,
        "late_s": story.late_s,
        "record": story.record,
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def _write_passes(folder: Path, passes: Passes) -> None:
    (folder / "passes").mkdir()
    for number, (name, text) in enumerate(passes):
        (folder / "passes" / f"{number:02d}-{name}.mlir").write_text(text)
    (folder / "agent.mlir").write_text(passes[0][1])


def _move_into(fresh: Path, out: Path) -> tuple[str, ...]:
    """Replaces what `out` has of the same names; other files there are left alone."""
    out.mkdir(exist_ok=True)
    names = tuple(sorted(path.name for path in fresh.iterdir()))
    for name in names:
        target = out / name
        if target.is_dir():
            shutil.rmtree(target)
        (fresh / name).replace(target)
    return names
