"""The study's own phases beside the measured ones: how far the cost model is from what devices were seen to do."""

from collections.abc import Iterator, Sequence

from weft.study.evidence import phases
from weft.study.pairs import Swept
from weft.study.space import short
from weft.study.sweep import Choice, Phase

Line = tuple[str, str, str, Phase, float, float]
"""(device, model, workload, phase, modelled device-seconds per request, measured)."""


def lines(swept: Sequence[Swept]) -> list[Line]:
    """FP8, offline, default catalogue: for every device whose measured runs tell its phases apart."""
    return [
        line
        for each in swept
        if each.catalogue == "default" and each.question.precision == "fp8"
        for line in _of_question(each)
    ]


def _of_question(swept: Swept) -> Iterator[Line]:
    question = swept.question
    for device, split in phases(question.model.id).items():
        measured = {
            Phase.PREFILL: split.prefill_s(question.isl),
            Phase.DECODE: split.decode_s(question.isl, question.osl),
        }
        for phase, seconds in measured.items():
            answer = swept.answers.get(device, {}).get(("offline", phase))
            if isinstance(answer, Choice) and seconds > 0:
                sizes = f"{question.isl}/{question.osl}"
                modelled = answer.device_s_per_request
                yield short(device), short(question.model.id), sizes, phase, modelled, seconds
