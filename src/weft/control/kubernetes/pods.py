"""The pods of a deployment: Ray's head and workers, and the gateway. None runs as root or may gain rights."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from weft.catalog.hardware import device
from weft.catalog.models import model
from weft.control.kubernetes.vendors import CPU, Vendor, vendor_of
from weft.core.deployment import Pool
from weft.cost.formats import default_formats
from weft.cost.memory import stored_bytes

Object = dict[str, Any]

WORK, MODELS = "/etc/weft", "/models"
GIB = 2**30
LOADING_GIB = 8  # beside the weights, which pass through a pod's memory when they are loaded
USER = 1000
POOL_LABEL, DEVICE_LABEL = "weft.dev/pool", "weft.dev/device"
"""Of pods, and of the machines that have a device of the catalogue."""

DNS: Object = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def labels(name: str, part: str = "") -> dict[str, str]:
    found = {"app.kubernetes.io/name": "weft", "app.kubernetes.io/instance": name}
    return {**found, "app.kubernetes.io/component": part} if part else found


def selector(name: str, part: str) -> Object:
    return {"matchLabels": labels(name, part)}


def object_of(api: str, kind: str, name: str, instance: str, namespace: str, part: str = "", **body: object) -> Object:
    about = {"name": name, "namespace": namespace, "labels": labels(instance, part)}
    return {"apiVersion": api, "kind": kind, "metadata": about, **body}


@dataclass(frozen=True, slots=True)
class Pods:
    """`image`: a repository; a pod's tag is the release and the flavour of its devices (vendors.py)."""

    name: str
    image: str
    tag: str
    claim: str

    def ray_head(self, port: int) -> Object:
        head = self._container("ray-head", CPU, {"cpu": "1", "memory": "4Gi"})
        head["ports"] = [{"containerPort": port, "name": "gcs"}]
        return self._pod("nodes", head, {})

    def ray_worker(self, pool: Pool) -> Object:
        """It asks for the devices of one replica."""
        vendor = vendor_of(device(pool.device))
        wants = {"cpu": str(_cores(pool)), "memory": f"{_memory_gib(pool)}Gi"}
        if vendor.resource is not None:
            wants[vendor.resource] = str(pool.parallelism.devices)
        pod = self._pod("nodes", self._container("ray-worker", vendor, wants), {POOL_LABEL: pool.name})
        pod["spec"]["nodeSelector"] = {DEVICE_LABEL: pool.device}
        if vendor.toleration is not None:
            pod["spec"]["tolerations"] = [{"key": vendor.toleration, "operator": "Exists", "effect": "NoSchedule"}]
        return pod

    def gateway(self, command: list[str], port: int, token_secret: str, token_key: str) -> Object:
        told = self._container("gateway", CPU, {"cpu": "1", "memory": "2Gi"})
        told["command"] = command
        told["ports"] = [{"containerPort": port, "name": "http"}]
        told["readinessProbe"] = {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5}
        told["livenessProbe"] = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}
        told["startupProbe"] = {"httpGet": {"path": "/healthz", "port": "http"}, "failureThreshold": 120}
        token = {"secretKeyRef": {"name": token_secret, "key": token_key}}
        told["env"] += [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "RAY_AUTH_TOKEN", "valueFrom": token}]
        told["volumeMounts"] += [
            {"name": "keys", "mountPath": "/etc/weft-keys", "readOnly": True},
            {"name": "runs", "mountPath": "/var/lib/weft"},
        ]
        pod = self._pod("gateway", told, {})
        pod["spec"]["terminationGracePeriodSeconds"] = 60
        pod["spec"]["volumes"] += [
            {"name": "keys", "secret": {"secretName": f"{self.name}-keys"}},
            {"name": "runs", "persistentVolumeClaim": {"claimName": f"{self.name}-runs"}},
        ]
        return pod

    def _pod(self, part: str, container: Object, more: dict[str, str]) -> Object:
        volumes = [
            {"name": "plan", "configMap": {"name": f"{self.name}-plan"}},
            {"name": "models", "persistentVolumeClaim": {"claimName": self.claim, "readOnly": True}},
            {"name": "shared", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
        ]
        safe = {"runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"}}
        spec = {
            "automountServiceAccountToken": False,
            "securityContext": safe,
            "containers": [container],
            "volumes": volumes,
        }
        return {"metadata": {"labels": {**labels(self.name, part), **more}}, "spec": spec}

    def _container(self, name: str, vendor: Vendor, wants: dict[str, str]) -> Object:
        """The paths of plan and models are the same everywhere: Ray's workers are told them by the gateway."""
        mounts: list[Object] = [
            {"name": "plan", "mountPath": WORK, "readOnly": True},
            {"name": "models", "mountPath": MODELS, "readOnly": True},
            {"name": "shared", "mountPath": "/dev/shm"},  # caches move through it on one machine
        ]
        return {
            "name": name,
            "image": f"{self.image}:{self.tag}-{vendor.flavour}",
            "resources": {"requests": dict(wants), "limits": dict(wants)},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "env": [],
            "volumeMounts": mounts,
        }


def _cores(pool: Pool) -> int:
    """Of CPU pools those that the plan counts as busy, and one more."""
    return 2 if pool.model is not None else ceil(pool.batch_limit * pool.utilisation) + 1


def _memory_gib(pool: Pool) -> int:
    if pool.model is None or pool.precision is None:
        return LOADING_GIB
    found = model(pool.model)
    return ceil(stored_bytes(found, default_formats(found, pool.precision)) / GIB) + LOADING_GIB
