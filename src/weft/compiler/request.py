"""What a user asks of the compiler: an agent, a fleet, an objective, a load."""

from dataclasses import dataclass, replace

from weft import catalog
from weft.core.errors import InputError
from weft.core.workload import Slo, Workload


@dataclass(frozen=True)
class CompileRequest:
    """`agent` is `file.py[:name]` or an `.mlir` file; names of the catalogue may be paths of TOML files.
    `settings` and `additions` change the fleet: see catalog.changes. `engine`: the serving software, as `weft estimate`
    reads it (blank: the average one). `robust`: plan for the high ends of the error bands.
    `pins` are STEP=DEVICE[@ZONE]. `previous`: a plan on disk to begin from. `tighten`: see compiler.tighten. `sizes`
    are STEP.SIZE=NUMBER (think.isl=812); they win over those of the workload and of the program.
    `passes` are opt-in, as `weft opt -p` reads them; they run before placing."""

    agent: str
    fleet: str = "default"
    slo: str = "interactive"
    finance: str = "owned"
    catalogue: str = "default"
    rate_per_s: float = 50.0
    workload: str | None = None
    precisions: tuple[str, ...] = ("fp16",)
    compare: bool = True
    serving: str = "any"
    split: bool = False
    objective: str = "usd_per_hour"
    settings: tuple[str, ...] = ()
    additions: tuple[str, ...] = ()
    engine: str = ""
    robust: bool = False
    pins: tuple[str, ...] = ()
    energy_limit_j: float | None = None
    time_limit_s: float = 20.0
    previous: str = ""
    tighten: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    passes: str = ""

    def slo_terms(self) -> Slo:
        return catalog.slo(self.slo)

    def workload_terms(self) -> Workload:
        """The workload file's rate wins over `rate_per_s`."""
        asked = Workload("uniform", self.rate_per_s) if self.workload is None else catalog.load_workload(self.workload)
        steps = {name: dict(sizes) for name, sizes in asked.steps.items()}
        for step, key, value in map(size_of, self.sizes):
            steps.setdefault(step, {})[key] = value
        return replace(asked, steps=steps)


def size_of(text: str) -> tuple[str, str, float]:
    """`think.isl=812` as ("think", "isl", 812.0)."""
    where, _, number = text.partition("=")
    step, _, key = where.rpartition(".")
    try:
        return step, key, float(number)
    except ValueError as error:
        problem, way_out = "has no number", "write STEP.SIZE=NUMBER, like think.isl=812"
        raise InputError(subject=f"size {text!r}", problem=problem, way_out=way_out) from error
