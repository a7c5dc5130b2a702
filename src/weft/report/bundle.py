"""Everything a run leaves in its output folder, written whole or not at all."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from weft.core.deployment import Deployment
from weft.core.deployment_json import encode
from weft.core.metrics import RequestRecord
from weft.report.figures import draw_alternatives, draw_timeline
from weft.report.page import ReportInputs, write_page
from weft.report.transcript import Transcript

Passes = Sequence[tuple[str, str]]
"""(pass name, module text after it); the first is the imported program."""


def write_bundle(
    out: Path,
    deployment: Deployment,
    record: RequestRecord,
    transcript: Transcript,
    *,
    answer_wav: bytes,
    passes: Passes,
    question: str | None,
    hardware: str,
) -> tuple[str, ...]:
    """Writes answer.wav, plan.json, agent.mlir, passes/, two figures and report.html; returns the names.

    All is made in a folder beside `out` first, so that a failure leaves an older run's files as they were.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        (fresh / "answer.wav").write_bytes(answer_wav)
        (fresh / "plan.json").write_bytes(encode(deployment))
        _write_passes(fresh, passes)
        draw_timeline(record, fresh / "timeline.png", hardware)
        draw_alternatives(deployment, fresh / "alternatives.png")
        page = ReportInputs(deployment, record, transcript, hardware, question, tuple(passes), fresh)
        write_page(page, fresh / "report.html")
        return _move_into(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


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
