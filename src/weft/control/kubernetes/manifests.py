"""The objects that a plan becomes, as plain data: a RayCluster, a gateway with its Service, and what guards them.

Every replica of a pool is one pod of a Ray worker group that has the pool's devices; `weft serve --ray` in the
gateway's pod starts a node in each. It is a RayCluster and no RayService: that one keeps up applications of Ray Serve,
and tokens never travel through Ray. Secrets are named here, never written.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weft.catalog.hardware import device
from weft.control.kubernetes.pods import DNS, MODELS, POOL_LABEL, WORK, Pods, labels, object_of, selector
from weft.core.deployment import Deployment, Pool
from weft.core.deployment_json import encode
from weft.core.errors import DeploymentError

Object = dict[str, Any]

PORT, RAY_PORT = 8080, 6379
LONGEST_NAME = 40
KEYS, TOKEN = "keys", "auth_token"
"""What the two secrets hold: digests of API keys (`weft serve --new-key`), and Ray's token."""


@dataclass(frozen=True, slots=True)
class Terms:
    """`image`: a repository, to which a tag of release and flavour is added. `claim`: the volume that holds the model
    in `model_dir`. `most`: nodes of a pool that control may start (None: as planned, and nobody scales)."""

    image: str
    tag: str
    claim: str
    model_dir: str = ""
    namespace: str = "default"
    most: int | None = None
    ray_version: str = "2.60.0"


def manifests(plan: Deployment, terms: Terms, agent: Mapping[str, str]) -> Mapping[str, Sequence[Object]]:
    """File name → objects. `agent`: the files of the agent's program, by name, its source first; none for a plan that
    calls no function of it. Raises DeploymentError for a plan that cannot stand on Kubernetes."""
    name = instance_of(plan)
    for pool in plan.pools:
        _refuse_unplaceable(pool, terms)
    pods = Pods(name, terms.image, terms.tag, terms.claim)
    return {
        "10-plan.yaml": [_config(name, _moved(plan, agent), terms, agent)],
        "20-ray.yaml": [_ray(name, plan, terms, pods)],
        "30-gateway.yaml": [_gateway(name, terms, pods), _service(name, terms), _runs(name, terms)],
        "40-guards.yaml": [*_policies(name, terms), *_budgets(name, plan, terms)],
        "50-monitoring.yaml": [_monitor(name, terms)],
    }


def instance_of(plan: Deployment) -> str:
    """What its objects are called."""
    name = plan.program.name.replace("_", "-").lower()
    if len(name) > LONGEST_NAME or not name.replace("-", "").isalnum() or name[-1] == "-" or not name.isascii():
        problem, way_out = (
            "gives no name that Kubernetes takes",
            f"call it by at most {LONGEST_NAME} letters and digits",
        )
        raise DeploymentError(subject=f"agent {plan.program.name!r}", problem=problem, way_out=way_out)
    return f"weft-{name}"


def _refuse_unplaceable(pool: Pool, terms: Terms) -> None:
    """One replica is one pod, so its devices are in one machine."""
    found = device(pool.device)
    together = 1 if found.scale_up is None else found.scale_up.max_devices
    if pool.parallelism.devices > together:
        problem = f"a replica takes {pool.parallelism.devices} {pool.device}, a machine has {together} at most"
        way_out = "plan with fewer devices a replica: a pod is on one machine"
        raise DeploymentError(subject=f"pool {pool.name!r}", problem=problem, way_out=way_out)
    if terms.most is not None and terms.most < pool.replicas:
        problem, way_out = f"is planned with {pool.replicas} replicas", f"give --control {pool.replicas} or more"
        raise DeploymentError(subject=f"pool {pool.name!r}", problem=problem, way_out=way_out)


def _moved(plan: Deployment, agent: Mapping[str, str]) -> Deployment:
    """Its source where the pods find it."""
    source = next(iter(agent), None)
    if source is None:
        return plan
    _, colon, function = plan.source.partition(".py:")
    return replace(plan, source=f"{WORK}/{source}{colon[-1:]}{function}")


def _config(name: str, plan: Deployment, terms: Terms, agent: Mapping[str, str]) -> Object:
    data = {"plan.json": encode(plan).decode(), **agent}
    return object_of("v1", "ConfigMap", f"{name}-plan", name, terms.namespace, data=data)


def _ray(name: str, plan: Deployment, terms: Terms, pods: Pods) -> Object:
    head = pods.ray_head(RAY_PORT)
    spec = {
        "rayVersion": terms.ray_version,
        "authOptions": {"mode": "token", "secretName": f"{name}-ray"},
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": head},
        "workerGroupSpecs": [_group(pool, terms, pods) for pool in plan.pools],
    }
    return object_of("ray.io/v1", "RayCluster", name, name, terms.namespace, spec=spec)


def _group(pool: Pool, terms: Terms, pods: Pods) -> Object:
    """Ray learns the devices by the catalogue's names, as `weft serve --ray` asks for them."""
    resources = json.dumps({pool.device: pool.parallelism.devices})
    most = pool.replicas if terms.most is None else terms.most
    return {
        "groupName": pool.name,
        "replicas": most,  # pods wait for nodes: Weft starts these, and Ray's autoscaler is not asked
        "minReplicas": pool.replicas,
        "maxReplicas": most,
        "rayStartParams": {"resources": json.dumps(resources)},  # quoted once more: it goes through a shell
        "template": pods.ray_worker(pool),
    }


def _gateway(name: str, terms: Terms, pods: Pods) -> Object:
    """One: a log of runs has one writer."""
    ray = f"{name}-head-svc.{terms.namespace}.svc:{RAY_PORT}"
    command = ["weft", "serve", f"{WORK}/plan.json", "--ray", ray, "--host", "0.0.0.0", "--port", str(PORT)]
    command += ["--keys", f"/etc/weft-keys/{KEYS}", "--runs", "/var/lib/weft/runs.db"]
    command += ["--model", f"{MODELS}/{terms.model_dir}".rstrip("/")]
    command += [] if terms.most is None else ["--control", str(terms.most)]
    spec = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": selector(name, "gateway"),
        "template": pods.gateway(command, PORT, f"{name}-ray", TOKEN),
    }
    return object_of("apps/v1", "Deployment", f"{name}-gateway", name, terms.namespace, spec=spec)


def _service(name: str, terms: Terms) -> Object:
    port = {"name": "http", "port": 80, "targetPort": "http"}
    spec = {"selector": labels(name, "gateway"), "ports": [port]}
    return object_of("v1", "Service", name, name, terms.namespace, "gateway", spec=spec)


def _runs(name: str, terms: Terms) -> Object:
    """Where durable runs are logged."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    return object_of("v1", "PersistentVolumeClaim", f"{name}-runs", name, terms.namespace, spec=spec)


def _policies(name: str, terms: Terms) -> Iterator[Object]:
    """Nodes talk to each other and to the gateway, to nobody else; the gateway is asked at its port."""
    ours: Object = {"podSelector": {"matchLabels": labels(name)}}
    operator: Object = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay"}}}
    nodes = {
        "podSelector": {"matchLabels": labels(name, "nodes")},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [ours, operator]}],
        "egress": [{"to": [ours]}, DNS],
    }
    gateway = {
        "podSelector": {"matchLabels": labels(name, "gateway")},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [ours]}, {"ports": [{"port": PORT, "protocol": "TCP"}]}],
    }
    kind = "networking.k8s.io/v1", "NetworkPolicy"
    yield object_of(*kind, f"{name}-nodes", name, terms.namespace, spec=nodes)
    yield object_of(*kind, f"{name}-gateway", name, terms.namespace, spec=gateway)


def _budgets(name: str, plan: Deployment, terms: Terms) -> Iterator[Object]:
    """A drain of machines takes one node of a pool at a time: the others go on with its replies."""
    for pool in plan.pools:
        chosen = {"matchLabels": {**labels(name, "nodes"), POOL_LABEL: pool.name}}
        spec = {"maxUnavailable": 1, "selector": chosen}
        yield object_of("policy/v1", "PodDisruptionBudget", f"{name}-{pool.name}", name, terms.namespace, spec=spec)


def _monitor(name: str, terms: Terms) -> Object:
    spec = {
        "selector": selector(name, "gateway"),
        "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }
    return object_of("monitoring.coreos.com/v1", "ServiceMonitor", name, name, terms.namespace, spec=spec)
