"""What a request cost, in the headers of its answer: all of it, and step by step."""

from collections.abc import Mapping

from weft.serve.api.http import Request
from weft.serve.api.schema import Usage

LONGEST = 2048  # characters of a header: the body tells all


def told(usage: Usage, request: Request) -> Mapping[str, str]:
    """A stream tells its costs in its last event: they are not known when its headers leave."""
    steps = ",".join([f"{each.step}={each.usd:.3g}" for each in usage.steps])
    headers = {"x-request-id": request.id, "x-weft-usd": f"{usage.usd:.3g}"}
    return {**headers, "x-weft-step-usd": steps} if len(steps) <= LONGEST else headers
