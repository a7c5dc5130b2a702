"""Plans as files: what is refused when it is read, and with which way out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compiler.test_pipeline import VOICE
from weft import catalog
from weft.catalog.plans import fingerprint, load_plan
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Supply
from weft.core.deployment import DEPLOYMENT_VERSION, Deployment
from weft.core.deployment_json import encode, schema
from weft.core.errors import DeploymentError


@pytest.fixture(scope="module")
def plan() -> Deployment:
    return compile_agent(CompileRequest(VOICE, aim=Aim(compare=False)))


def written(plan: Deployment, folder: Path) -> Path:
    path = folder / "plan.json"
    path.write_bytes(encode(plan))
    return path


def test_a_plan_carries_what_it_was_made_of(plan: Deployment, tmp_path: Path) -> None:
    assert set(plan.fingerprints) == {"model llama-3-8b", *(f"device {pool.device}" for pool in plan.pools)}
    assert load_plan(written(plan, tmp_path)) == plan


def test_a_plan_with_answers_is_still_a_plan(plan: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(encode(plan, {"goodput": {"rate_per_s": 3.0}}))
    assert json.loads(path.read_bytes())["answers"]["goodput"]["rate_per_s"] == 3.0
    assert load_plan(path) == plan


@pytest.mark.parametrize("row", ["model llama-3-8b", "device a100-sxm"])
def test_a_plan_of_another_catalogue_is_refused(plan: Deployment, tmp_path: Path, row: str) -> None:
    old = replace(plan, fingerprints={**plan.fingerprints, row: "0123456789abcdef"})
    with pytest.raises(DeploymentError, match=f"{row} changed since; make it again with `weft plan"):
        load_plan(written(old, tmp_path))


def test_a_device_that_is_gone_is_refused(plan: Deployment, tmp_path: Path) -> None:
    old = replace(plan, fingerprints={"device gaudi-17": "0"})
    with pytest.raises(DeploymentError, match="device gaudi-17 changed since"):
        load_plan(written(old, tmp_path))


def test_what_if_prices_do_not_make_a_plan_stale(tmp_path: Path) -> None:
    dear = compile_agent(CompileRequest(VOICE, supply=Supply(settings=("gaudi3.price=40000",)), aim=Aim(compare=False)))
    assert load_plan(written(dear, tmp_path)).agent == "voice"


def test_a_fingerprint_is_of_numbers() -> None:
    h100, llama = catalog.device("h100-sxm"), catalog.model("llama-3-8b")
    assert fingerprint(h100) == fingerprint(replace(h100, name="other", source=replace(h100.source, note="x")))
    assert fingerprint(h100) != fingerprint(replace(h100, memory_bytes=h100.memory_bytes + 1))
    assert fingerprint(llama) != fingerprint(replace(llama, layers=33))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"version": 1}', f"is a plan of version 1, this Weft reads {DEPLOYMENT_VERSION}"),
        (json.dumps({"version": DEPLOYMENT_VERSION}), "is not a plan: Object missing required field"),
        ("{}", "is not a plan"),
        ("hello", "is not a plan"),
    ],
)
def test_what_is_no_plan_of_this_version_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(DeploymentError, match=words):
        load_plan(path)
    with pytest.raises(DeploymentError, match="cannot be read"):
        load_plan(tmp_path / "nowhere.json")


def test_the_schema_names_every_field_of_a_plan(plan: Deployment) -> None:
    described = json.loads(schema())["$defs"]
    document = json.loads(encode(plan))
    assert document.keys() == described["Deployment"]["properties"].keys()
    assert document["routes"][0].keys() == described["Route"]["properties"].keys()
    assert set(described["Route"]["required"]) <= document["routes"][0].keys()
