"""`weft plan agents.toml`: one fleet for several agents, and what each of them pays."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from weft import catalog
from weft.compiler.request import CompileRequest
from weft.compiler.together import compile_together
from weft.core.deployment import Deployment
from weft.core.deployment_json import encode
from weft.core.errors import InputError
from weft.report.tables import handoff_lines, other_model_lines, plan_table
from weft.report.together import bill_table, shared_pool_table


def is_agents_file(agent: str) -> bool:
    return agent.endswith(".toml")


def plan_together(request: CompileRequest, folder: Path | None, console: Console) -> None:
    """`request.agent` is the agents file; each agent's rate, slo and workload are its own. Plans go into `folder`, one
    file each."""
    if folder is not None and (folder == Path("-") or folder.is_file() or folder.suffix == ".json"):
        raise InputError(
            subject=f"--json {folder}",
            problem="names one file, several agents have a plan each",
            way_out="name a folder: each agent's plan is written there as AGENT.json",
        )
    rows = catalog.load_agents(request.agent)
    deployments = compile_together([_of(request, row) for row in rows])
    show(deployments, console)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for each in deployments:
            (folder / f"{each.agent}.json").write_bytes(encode(each))


def _of(request: CompileRequest, row: catalog.AgentRow) -> CompileRequest:
    rate_per_s = request.needs.rate_per_s if row.rate_per_s is None else row.rate_per_s
    needs = replace(request.needs, slo=row.slo, rate_per_s=rate_per_s, workload=row.workload)
    return replace(request, agent=row.program, needs=needs)


def show(deployments: tuple[Deployment, ...], console: Console) -> None:
    for each in deployments:
        console.print(plan_table(each))
        for line in handoff_lines(each):
            console.print(f"KV cache {line}", highlight=False)
        for line in other_model_lines(each):
            console.print(f"Model of {line}", highlight=False)
        console.print()
    console.print(shared_pool_table(deployments))
    console.print(bill_table(deployments[0]))
