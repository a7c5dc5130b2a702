"""A launch spec as a shell script: one replica in its container. Variables come from the caller's environment."""

import shlex

from weft.compiler.launch.settings import CONFIG
from weft.compiler.launch.spec import PLACEHOLDER, LaunchSpec

HEADER = """#!/bin/sh
# Replica $REPLICA (from 0 to {last}) of pool {pool}: {model} on {engine} {version}, {devices} devices.
# Written by weft compile; flags as in {engine} {version}, read {as_of}.
{needs}
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${{REPLICA:-0}}"""


def script(spec: LaunchSpec) -> str:
    """`PORT`, `BIND`, `MODEL_DIR`, … can be set by whoever runs it; what has no default is asked for by name."""
    lines = [_header(spec)]
    for name, value in spec.variables.items():
        if value is None:
            lines.append(f': "${{{name}:?set it: {_asked(spec, name)}}}"')
        else:
            lines.append(f"{name}=${{{name}:-{shlex.quote(value)}}}")
    lines += [f"{name}=${{{name}:-$(({first} + REPLICA))}}" for name, first in spec.ports.items()]
    return "\n".join([*lines, _run(spec), ""])


def _header(spec: LaunchSpec) -> str:
    return HEADER.format(
        last=spec.replicas - 1,
        pool=spec.pool,
        model=spec.model,
        engine=spec.engine,
        version=spec.version,
        devices=spec.devices_per_replica,
        as_of=spec.as_of,
        needs="\n".join(f"# Needs {need}." for need in spec.needs),
    )


def _run(spec: LaunchSpec) -> str:
    words = ["docker run --rm", *spec.docker]
    words += [f"--volume={_word(here)}:{_word(there)}:ro" for here, there in spec.mounts.items()]
    if spec.config is not None:
        words.append(f'--volume="$HERE"/{shlex.quote(f"{spec.pool}.yaml")}:{CONFIG}:ro')
    words += [f"--env={name}={_word(value)}" for name, value in spec.env.items()]
    words += [f"--env={name}" for name in spec.passes]
    words += [f"--entrypoint={spec.command[0]}", spec.image]
    first, *rest = _pairs(spec.command[1:])
    return "exec " + " \\\n  ".join([*words[:-1], f"{words[-1]} {first}", *rest])


def _pairs(command: tuple[str, ...]) -> list[str]:
    """One flag with its value a line; what stands before the first flag on the first."""
    lines = [""]
    for word in command:
        if word.startswith("--") and lines[-1]:
            lines.append(_word(word))
        else:
            lines[-1] = f"{lines[-1]} {_word(word)}".strip()
    return lines


def _word(text: str) -> str:
    """Quoted for the shell, but for the variables in it."""
    return f'"{text}"' if PLACEHOLDER.fullmatch(text) else shlex.quote(text)


def _asked(spec: LaunchSpec, name: str) -> str:
    return {
        "MODEL_DIR": f"the folder of the checkpoint of {spec.model}",
        "QUANT_DIR": "the folder that holds QUANT_CONFIG and the measurements beside it",
        "HOST_IP": "the address of this machine that the other pools reach",
    }[name]
