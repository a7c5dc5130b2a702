"""Deployment ⇄ JSON, versioned: a plan of another version is refused, never half-read."""

import msgspec

from weft.core.deployment import DEPLOYMENT_VERSION, Deployment
from weft.core.errors import DeploymentError


class _Versioned(msgspec.Struct):
    version: int


def encode(deployment: Deployment, answers: object = None) -> bytes:
    """Indented UTF-8 JSON with sorted keys, so that two plans can be compared with diff. `answers` to questions about
    the plan stand under that key beside its own; reading the plan back leaves them out."""
    document = deployment if answers is None else {**msgspec.to_builtins(deployment), "answers": answers}
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=2) + b"\n"


def schema() -> bytes:
    """JSON Schema (2020-12) of a plan of this version."""
    described = msgspec.json.schema(Deployment)
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"Weft plan {DEPLOYMENT_VERSION}"}
    return msgspec.json.format(msgspec.json.encode({**named, **described}), indent=2) + b"\n"


def decode(data: bytes, name: str) -> Deployment:
    """`name` is the file that errors speak of."""
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != DEPLOYMENT_VERSION:
            raise _refusal(name, f"is a plan of version {version}, this Weft reads {DEPLOYMENT_VERSION}")
        return msgspec.json.decode(data, type=Deployment)
    except msgspec.DecodeError as error:
        raise _refusal(name, f"is not a plan: {error}") from error


def _refusal(name: str, problem: str) -> DeploymentError:
    return DeploymentError(subject=name, problem=problem, way_out="make it again with `weft plan … --json PATH`")
