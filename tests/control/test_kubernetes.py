"""Manifests of a plan: each object fits its schema, no secret is in them, and what cannot stand there is refused."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import kubernetes_validate
import msgspec
import pytest

from tests.sim.deployments import split_chat
from weft.control.kubernetes.manifests import Terms, manifests
from weft.core.deployment import Deployment, Parallelism
from weft.core.errors import DeploymentError

TERMS = Terms("registry.example/weft", "1.0", "checkpoints", "llama", "agents")
CUSTOM = ("ray.io/v1", "monitoring.coreos.com/v1")


class Group(msgspec.Struct, forbid_unknown_fields=True):
    """ray.io/v1 WorkerGroupSpec, as far as we use it (docs.ray.io, KubeRay 1.6 API reference)."""

    groupName: str  # noqa: N815
    replicas: int
    minReplicas: int  # noqa: N815
    maxReplicas: int  # noqa: N815
    rayStartParams: dict[str, str]  # noqa: N815
    template: dict[str, Any]


class Head(msgspec.Struct, forbid_unknown_fields=True):
    rayStartParams: dict[str, str]  # noqa: N815
    template: dict[str, Any]


class Ray(msgspec.Struct, forbid_unknown_fields=True):
    rayVersion: str  # noqa: N815
    authOptions: dict[str, str]  # noqa: N815
    headGroupSpec: Head  # noqa: N815
    workerGroupSpecs: list[Group]  # noqa: N815


class Endpoint(msgspec.Struct, forbid_unknown_fields=True):
    port: str
    path: str
    interval: str


class Monitor(msgspec.Struct, forbid_unknown_fields=True):
    """monitoring.coreos.com/v1 ServiceMonitorSpec, as far as we use it (prometheus-operator.dev)."""

    selector: dict[str, dict[str, str]]
    endpoints: list[Endpoint]


def plan(*devices: str, tp: int = 1) -> Deployment:
    """Prefill on the first device, decode on the second."""
    made = split_chat()
    pools = tuple(
        replace(pool, device=name, model="llama-3-8b", parallelism=Parallelism(tp=tp))
        for pool, name in zip(made.pools, devices, strict=True)
    )
    return replace(made, pools=pools)


def objects(made: Deployment, terms: Terms = TERMS) -> list[dict[str, Any]]:
    return [each for found in manifests(made, terms, {"chat.py": "…"}).values() for each in found]


def templates(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    ray = next(each for each in found if each["kind"] == "RayCluster")["spec"]
    yield ray["headGroupSpec"]["template"]
    yield from (group["template"] for group in ray["workerGroupSpecs"])


def test_every_object_fits_its_schema() -> None:
    found = objects(plan("h100-sxm", "mi300x"))
    for each in found:
        if each["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(each, "1.37", strict=True)
    for template in templates(found):  # the schema of KubeRay takes any pod that Kubernetes does
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        kubernetes_validate.validate(pod, "1.37", strict=True)
    msgspec.convert(next(each for each in found if each["kind"] == "RayCluster")["spec"], Ray)
    msgspec.convert(next(each for each in found if each["kind"] == "ServiceMonitor")["spec"], Monitor)
    kinds = {each["kind"] for each in found}
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap"} <= kinds


@pytest.mark.parametrize(
    ("device", "resource", "flavour"),
    [
        ("h100-sxm", "nvidia.com/gpu", "cuda"),
        ("mi300x", "amd.com/gpu", "rocm"),
        ("gaudi3", "habana.ai/gaudi", "gaudi"),
        ("arc-pro-b60", "gpu.intel.com/xe", "xpu"),
        ("epyc-9965", None, "cpu"),
    ],
)
def test_a_pod_asks_for_the_devices_of_one_replica(device: str, resource: str | None, flavour: str) -> None:
    worker = list(templates(objects(plan(device, "h100-sxm", tp=2))))[1]
    (container,) = worker["spec"]["containers"]
    assert container["image"] == f"registry.example/weft:1.0-{flavour}"
    asked = container["resources"]["limits"]
    assert {key: value for key, value in asked.items() if "/" in key} == ({resource: "2"} if resource else {})
    assert int(asked["memory"].removesuffix("Gi")) >= 23  # 15 GiB of weights, and room to load them
    assert worker["spec"]["nodeSelector"] == {"weft.dev/device": device}


def test_ray_knows_devices_as_the_catalogue_does_and_selectors_find_pods() -> None:
    found = objects(plan("h100-sxm", "mi300x"), replace(TERMS, most=5))
    ray = next(each for each in found if each["kind"] == "RayCluster")
    group = ray["spec"]["workerGroupSpecs"][0]
    assert msgspec.json.decode(msgspec.json.decode(group["rayStartParams"]["resources"])) == {"h100-sxm": 1}
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 5)
    gateway = next(each for each in found if each["kind"] == "Deployment")
    command = gateway["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[command.index("--ray") + 1] == f"{ray['metadata']['name']}-head-svc.agents.svc:6379"
    pods = [gateway["spec"]["template"], *templates(found)]
    for each in found:
        wanted = each.get("spec", {}).get("podSelector", each.get("spec", {}).get("selector", {}))
        wanted = wanted.get("matchLabels", wanted)
        if wanted and each["kind"] != "ServiceMonitor":
            assert any(wanted.items() <= pod["metadata"]["labels"].items() for pod in pods), each["metadata"]["name"]
    service = next(each for each in found if each["kind"] == "Service")
    monitor = next(each for each in found if each["kind"] == "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert not any(each["kind"] == "Secret" for each in found)


def test_what_cannot_stand_there_is_refused() -> None:
    with pytest.raises(DeploymentError, match="device m4-max: of Apple has no device plugin"):
        objects(plan("m4-max", "h100-sxm"))
    with pytest.raises(DeploymentError, match="a replica takes 16 h100-sxm, a machine has 8"):
        objects(plan("h100-sxm", "h100-sxm", tp=16))
    with pytest.raises(DeploymentError, match="is planned with 2 replicas"):
        objects(plan("h100-sxm", "h100-sxm"), replace(TERMS, most=1))
    named = plan("h100-sxm", "h100-sxm")
    with pytest.raises(DeploymentError, match="gives no name that Kubernetes takes"):
        objects(replace(named, program=replace(named.program, name="größe")))
