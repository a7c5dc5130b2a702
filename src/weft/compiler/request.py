"""What a user asks of the compiler: an agent, a fleet, an objective, a load."""

from dataclasses import dataclass

from weft import catalog
from weft.core.workload import Slo, Workload


@dataclass(frozen=True)
class CompileRequest:
    """`agent` is `file.py[:name]` or an `.mlir` file; names of the catalogue may be paths of TOML files.
    `settings` and `additions` change the fleet: see catalog.changes. `engine`: the serving software, as `weft estimate`
    reads it (blank: the average one). `robust`: plan for the high ends of the error bands.
    `pins` are STEP=DEVICE[@ZONE]. `previous`: a plan on disk to begin from.
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
    passes: str = ""

    def slo_terms(self) -> Slo:
        return catalog.slo(self.slo)

    def workload_terms(self) -> Workload:
        """The workload file's rate wins over `rate_per_s`."""
        if self.workload is None:
            return Workload("uniform", self.rate_per_s)
        return catalog.load_workload(self.workload)
