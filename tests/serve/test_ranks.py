"""A plan's tensor-parallel ranks, started on this machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.runtime import checkpoints
from tests.runtime.replies import reply_of
from tests.serve.deployments import MAX_TOKENS, split_llm
from weft.control.backends.local import LocalFleet
from weft.core.deployment import Deployment, Parallelism
from weft.core.errors import CapacityError, DeploymentError
from weft.core.message import Message
from weft.runtime.artifact_spec import ArtifactSpec
from weft.runtime.engines.chat import Chat
from weft.runtime.engines.requests import Terms
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.messages import NO_TOKEN
from weft.serve.events import RunEvent, TokenPiece
from weft.serve.placement import LocalModels, PoolModel, node_specs
from weft.serve.run import run_agent

CHAT = (Message("user", "how much memory does the gpu have?"),)
MODELS = LocalModels(Path("llm"))
CPU, GPU = "xeon-6980p", "h100-sxm"


def plan(across: Parallelism, device: str = GPU) -> Deployment:
    """The prefill pool is divided, the decode pool is not."""
    whole = split_llm()
    pools = (whole.pools[0], replace(whole.pools[1], parallelism=across, device=device))
    assert [pool.name for pool in pools] == ["D", "P"]
    return replace(whole, pools=pools)


def ranks(across: Parallelism, device: str, models: LocalModels, *, emulate: bool = False) -> list[int]:
    return [spec.tensor_parallel for spec in node_specs(plan(across, device), models, emulate=emulate)]


def test_ranks_are_started_where_the_device_is_here_or_somebody_asks() -> None:
    two, asked = Parallelism(tp=2), replace(MODELS, ranks=True)
    assert ranks(two, GPU, MODELS) == [1, 1]
    assert ranks(two, CPU, MODELS) == [1, 2]
    assert ranks(two, CPU, MODELS, emulate=True) == [1, 1]
    assert ranks(two, GPU, asked) == ranks(two, GPU, asked, emulate=True) == [1, 2]
    assert node_specs(plan(two), asked, emulate=False)[1].device == "this machine's CPU, 2 ranks"


@pytest.mark.parametrize("across", [Parallelism(tp=2, pp=2), Parallelism(tp=2, dp=2)])
def test_what_the_engine_does_not_divide_by_is_refused(across: Parallelism) -> None:
    assert ranks(across, GPU, MODELS) == [1, 1]
    with pytest.raises(DeploymentError, match="divides a model by tp only"):
        ranks(across, GPU, replace(MODELS, ranks=True))


def test_generated_code_has_no_ranks() -> None:
    code = PoolModel(Path("llm"), ArtifactSpec("folder", "x86-64", {}))
    models = LocalModels(pools={"P": code, "D": code})
    assert ranks(Parallelism(tp=2), CPU, models) == [1, 1]
    with pytest.raises(DeploymentError, match="--code P=torch"):
        ranks(Parallelism(tp=2), CPU, replace(models, ranks=True))


async def test_two_ranks_prefill_for_a_pool_of_one(tmp_path: Path) -> None:
    folder = checkpoints.chat_model(tmp_path)
    made, models = plan(Parallelism(tp=2)), LocalModels(folder, ranks=True)
    engine, chat = TorchEngine.load(folder), Chat.load(folder)
    events = list[RunEvent]()
    async with LocalFleet(node_specs(made, models, emulate=True)) as fleet:
        await run_agent(made, fleet.clients, {"chat": CHAT}, events.append)
    told = [event.token for event in events if isinstance(event, TokenPiece) and event.token != NO_TOKEN]
    assert told == reply_of(engine, chat.encode(CHAT), MAX_TOKENS, Terms(stop_tokens=chat.stop_tokens))


async def test_a_model_that_the_ranks_do_not_divide_is_refused_with_a_way_out(tmp_path: Path) -> None:
    models = LocalModels(checkpoints.chat_model(tmp_path), ranks=True)
    with pytest.raises(CapacityError, match=r"tensor parallelism of 3: cannot divide 4 heads.*a checkpoint"):
        async with LocalFleet(node_specs(plan(Parallelism(tp=3)), models, emulate=False)[1:]):
            pass
