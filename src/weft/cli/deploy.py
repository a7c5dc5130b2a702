"""`weft deploy`: a plan as manifests for a cluster that somebody else runs."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weft.catalog.hardware import device
from weft.catalog.plans import load_plan
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.control.kubernetes.manifests import KEYS, TOKEN, Terms, instance_of, manifests
from weft.control.kubernetes.pods import DEVICE_LABEL
from weft.control.kubernetes.vendors import CPU, vendor_of
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.runtime.functions import source_file


@dataclass(frozen=True, slots=True)
class WhatOptions:
    plan: Annotated[Path, typer.Argument(help="A plan (weft plan --json).")]
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="For Kubernetes with the KubeRay operator.")] = False
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the manifests.")] = Path("manifests")


@dataclass(frozen=True, slots=True)
class TermOptions:
    image: Annotated[str, typer.Option(help="Repository of the images that deploy/Dockerfile makes.")]
    model_claim: Annotated[str, typer.Option(help="PersistentVolumeClaim that holds the model's directory.")]
    model_dir: Annotated[str, typer.Option(help="The directory in that volume.")] = ""
    tag: Annotated[str | None, typer.Option(help="Release of the images [default: this one's].")] = None
    namespace: Annotated[str, typer.Option(help="Of all objects.")] = "default"
    control: Annotated[int | None, typer.Option(help="Scale each pool with the load, up to so many nodes.")] = None


def register(app: typer.Typer) -> None:
    app.command("deploy")(grouped(deploy))


def deploy(what: WhatOptions, terms: TermOptions) -> None:
    """Write manifests: a RayCluster with the plan's devices, a gateway, Services, budgets, policies, monitoring."""
    if not what.kubernetes:
        raise InputError(subject="weft deploy", problem="for which cluster?", way_out="give --kubernetes")
    plan = load_plan(what.plan)
    wanted = Terms(
        terms.image,
        terms.tag or version("weft"),
        terms.model_claim,
        terms.model_dir,
        terms.namespace,
        terms.control,
    )
    files = manifests(plan, wanted, _agent_files(plan))
    what.out.mkdir(parents=True, exist_ok=True)
    for name, objects in files.items():
        text = b"---\n".join(msgspec.yaml.encode(each) for each in objects)
        (what.out / name).write_bytes(text)
    _tell(plan, wanted, what.out, list(files))


def _agent_files(plan: Deployment) -> dict[str, str]:
    """The program of the agent, whose functions nodes run."""
    path = source_file(plan.source)
    if path.suffix != ".py":
        return {}
    try:
        return {path.name: path.read_text(encoding="utf-8")}
    except OSError as error:
        problem, way_out = f"cannot be read ({error.strerror})", "call weft where the plan was made"
        raise InputError(subject=f"the plan's agent {path}", problem=problem, way_out=way_out) from error


def _tell(plan: Deployment, terms: Terms, out: Path, names: list[str]) -> None:
    """What is left to do, as commands."""
    name = instance_of(plan)
    secret = f"kubectl -n {terms.namespace} create secret generic {name}"
    lines = [("wrote", f"{out}/: {', '.join(names)}")]
    flavours = {CPU, *(vendor_of(device(pool.device)) for pool in plan.pools)}
    for vendor in sorted(flavours, key=lambda each: each.flavour):
        tag = f"{terms.image}:{terms.tag}-{vendor.flavour}"
        lines.append(("image", f"docker build -f deploy/Dockerfile --build-arg BASE={vendor.base} -t {tag} ."))
    lines.append(("keys", f"{secret}-keys --from-file={KEYS}=FILE  (weft serve --new-key NAME --keys FILE)"))
    lines.append(("token", f"{secret}-ray --from-file={TOKEN}=FILE  (openssl rand -hex 32)"))
    used = sorted({pool.device for pool in plan.pools})
    lines += [("machines", f"kubectl label node NODE {DEVICE_LABEL}={name}") for name in used]
    lines.append(("start", f"kubectl apply -f {out}"))
    console = wide_console()
    for what, line in lines:
        console.print(f"{what:9} {line}", highlight=False, markup=False, soft_wrap=True)
