"""A launch spec: the exact command, environment and container with which one pool is started. And back again."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from weft.compiler.launch.engines import ENGINES, Engine
from weft.compiler.launch.serving import Role, Serving
from weft.compiler.launch.settings import (
    HTTP_PORT,
    MODELS,
    PORTS_PER_POOL,
    SIDE_PORT,
    Joined,
    Setting,
    needs_calibration,
    needs_of,
    settings_of,
    tensorrt_config,
)
from weft.core.errors import InputError

PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """How replica number REPLICA of a pool is started.

    `${NAME}` in `command` and `env` stands for a variable of `variables` (value: what it is by default; None: the
    operator must say it) or for a port, which is the first one of `ports` plus REPLICA. No secret is ever part of it:
    an API key reaches the engine by the name of its environment variable (`passes`). `mounts` are folders of the host,
    read only, and where the container sees them.
    """

    pool: str
    model: str
    engine: str
    version: str
    image: str
    role: Role
    replicas: int
    devices_per_replica: int
    command: tuple[str, ...]
    env: Mapping[str, str]
    ports: Mapping[str, int]
    variables: Mapping[str, str | None]
    passes: tuple[str, ...]
    docker: tuple[str, ...]
    mounts: Mapping[str, str]
    config: str | None
    needs: tuple[str, ...]
    source: str
    as_of: str

    def argv(self, replica: int = 0, **variables: str) -> tuple[str, ...]:
        """The command with every placeholder filled in; one that is not known is refused."""
        known = {name: value for name, value in self.variables.items() if value is not None}
        known |= {name: str(first + replica) for name, first in self.ports.items()} | variables
        return tuple(PLACEHOLDER.sub(lambda found: self._known(found[1], known), word) for word in self.command)

    def _known(self, name: str, known: Mapping[str, str]) -> str:
        if name not in known:
            raise InputError(subject=f"pool {self.pool!r}", problem=f"needs {name}", way_out=f"say {name}=…")
        return known[name]


def launch_spec(joined: Joined, model_dir: str | None = None) -> LaunchSpec:
    """`model_dir` is where the checkpoint lies on the machines that serve it, if that is known."""
    serving, engine = joined.serving, joined.engine
    ports = {"PORT": HTTP_PORT + joined.place * PORTS_PER_POOL}
    variables: dict[str, str | None] = {"MODEL_DIR": model_dir, "BIND": "127.0.0.1", **dict(engine.variables)}
    env, mounts, passes = dict(engine.env), {"${MODEL_DIR}": f"{MODELS}/{serving.model}"}, [engine.secret]
    if needs_calibration(joined):
        variables["QUANT_DIR"] = None
        mounts["${QUANT_DIR}"] = "${QUANT_DIR}"
        passes.append("QUANT_CONFIG")
    if serving.peers:
        ports["SIDE_PORT"] = SIDE_PORT + joined.place * PORTS_PER_POOL
        env |= _wire_env(joined)
        variables |= {"HOST_IP": None} if "${HOST_IP}" in env.values() else {}
    return LaunchSpec(
        pool=serving.pool,
        model=serving.model,
        engine=engine.name,
        version=engine.version,
        image=engine.image,
        role=serving.role,
        replicas=serving.replicas,
        devices_per_replica=serving.parallelism.devices,
        command=command(engine, settings_of(joined)),
        env=env,
        ports=ports,
        variables=variables,
        passes=tuple(filter(None, passes)),
        docker=engine.docker,
        mounts=mounts,
        config=tensorrt_config(joined) if engine.name == "tensorrt-llm" else None,
        needs=needs_of(joined),
        source=engine.source,
        as_of=engine.as_of,
    )


def launch_specs(
    asked: Sequence[Serving], engine_of: Mapping[str, str], model_dirs: Mapping[str, str]
) -> Iterator[LaunchSpec | InputError]:
    """For each pool that `engine_of` names an engine for: its spec, or why there is none. By pool and by model."""
    engines = {pool: ENGINES[name] for pool, name in engine_of.items()}
    precisions = {serving.pool: serving.precision for serving in asked}
    for place, serving in enumerate(asked):
        if serving.pool not in engines:
            continue
        try:
            missing = [peer for peer in serving.peers if peer not in engines]
            if missing:
                raise _alone(serving, missing[0])
            unlike = [peer for peer in serving.peers if precisions[peer] != serving.precision]
            if unlike:
                raise _unlike(serving, unlike[0], precisions[unlike[0]])
            peers = tuple(engines[peer] for peer in serving.peers)
            joined = Joined(serving, engines[serving.pool], peers, place)
            yield launch_spec(joined, model_dirs.get(serving.model))
        except InputError as error:
            yield error


def command(engine: Engine, settings: Mapping[str, Setting]) -> tuple[str, ...]:
    """Program, model, flags in the table's order."""
    words = [*engine.program]
    if not any(flag.setting == "model" for flag in engine.flags):
        words.append(str(settings["model"]))
    for flag in engine.flags:
        value = settings.get(flag.setting)
        if value is None or value == flag.unless:
            continue
        words += [flag.flag] if flag.switch else [flag.flag, str(value)]
    return tuple(words)


def parse(engine: Engine, argv: Sequence[str]) -> Mapping[str, Setting]:
    """The settings that a command says: the inverse of `command`."""
    if tuple(argv[: len(engine.program)]) != engine.program:
        raise InputError(
            subject=" ".join(argv[:3]), problem=f"does not start {engine.name}", way_out=f"use {engine.program}"
        )
    words = iter(argv[len(engine.program) :])
    by_flag = {flag.flag: flag for flag in engine.flags}
    settings: dict[str, Setting] = {flag.setting: flag.unless for flag in engine.flags if flag.unless is not None}
    for word in words:
        flag = by_flag.get(word)
        if flag is None and "model" not in settings and not word.startswith("--"):
            settings["model"] = word
        elif flag is None:
            raise InputError(subject=word, problem=f"is no flag of {engine.name}", way_out="see launch/engines.py")
        else:
            settings[flag.setting] = True if flag.switch else _value(next(words))
    return settings


def _wire_env(joined: Joined) -> dict[str, str]:
    """What the KV connector reads from the environment; SGLang and TensorRT-LLM are told by flag and file."""
    if joined.engine.kv != "vllm-nixl":
        return {}
    env = {"VLLM_NIXL_SIDE_CHANNEL_HOST": "${HOST_IP}", "VLLM_NIXL_SIDE_CHANNEL_PORT": "${SIDE_PORT}"}
    if joined.engine.name == "vllm-gaudi":
        env |= {"UCX_MEMTYPE_CACHE": "0", "VLLM_NIXL_DEVICE_TO_DEVICE": "false"}
    return env


def _value(word: str) -> Setting:
    return int(word) if re.fullmatch(r"\d+", word) else word


def _unlike(serving: Serving, peer: str, precision: str) -> InputError:
    return InputError(
        subject=f"pool {serving.pool!r}",
        problem=f"holds its caches in {serving.precision}, {peer!r} in {precision}: engines hand over equal ones only",
        way_out="plan with one --precision, or with --serving aggregated",
    )


def _alone(serving: Serving, peer: str) -> InputError:
    return InputError(
        subject=f"pool {serving.pool!r}",
        problem=f"hands caches to or from {peer!r}, whose device no engine of the table serves",
        way_out="plan with --serving aggregated, or compile both with --checkpoint",
    )
