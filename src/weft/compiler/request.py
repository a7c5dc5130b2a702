"""What a user asks of the compiler: an agent, what its runs need, what there is to run them on, how to choose."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from weft import catalog
from weft.catalog.changes import changed_fleet
from weft.core.errors import InputError
from weft.core.hardware import Fleet
from weft.core.pace import PHASES, pace_key
from weft.core.workload import Slo, Workload

USUAL_SLO = "interactive"


@dataclass(frozen=True, slots=True)
class Needs:
    """How much comes and how fast it must be: `slo` by name or whole. Names may be paths of TOML files. `sizes` are
    STEP.SIZE=NUMBER (think.isl=812); they win over those of the workload and of the program."""

    slo: str | Slo = USUAL_SLO
    rate_per_s: float = 50.0
    workload: str | None = None
    sizes: tuple[str, ...] = ()

    def slo_terms(self) -> Slo:
        return self.slo if isinstance(self.slo, Slo) else catalog.slo(self.slo)

    def workload_terms(self) -> Workload:
        """The workload file's rate wins over `rate_per_s`."""
        asked = Workload("uniform", self.rate_per_s) if self.workload is None else catalog.load_workload(self.workload)
        steps = {name: dict(sizes) for name, sizes in asked.steps.items()}
        for step, key, value in map(size_of, self.sizes):
            steps.setdefault(step, {})[key] = value
        return replace(asked, steps=steps)


@dataclass(frozen=True, slots=True)
class Supply:
    """What there is to run on, at which prices and under which software. `settings` and `additions` change the fleet:
    see catalog.changes. `engine`: the serving software, as `weft estimate` reads it (blank: the average one).
    `measured` are MODEL@DEVICE.PHASE=FACTOR: how many times as long as that a phase was seen to take."""

    fleet: str = "default"
    settings: tuple[str, ...] = ()
    additions: tuple[str, ...] = ()
    catalogue: str = "default"
    finance: str = "owned"
    engine: str = ""
    measured: tuple[str, ...] = ()

    def fleet_terms(self) -> Fleet:
        return changed_fleet(self.fleet, self.settings, self.additions, self.catalogue)

    def paces(self) -> Mapping[str, float]:
        """`measured`, by core.pace.pace_key."""
        return paces_of(self.measured)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a plan must keep to. `robust`: at the high ends of the error bands. `pins` are STEP=DEVICE[@ZONE].
    `tighten`: see compiler.tighten."""

    precisions: tuple[str, ...] = ("fp16",)
    serving: str = "any"
    split: bool = False
    pins: tuple[str, ...] = ()
    energy_limit_j: float | None = None
    tighten: tuple[str, ...] = ()
    robust: bool = False


@dataclass(frozen=True, slots=True)
class Aim:
    """What is best, how long it is looked for, where that begins (`previous`: a plan on disk), and whether it is
    compared with other plans."""

    objective: str = "usd_per_hour"
    time_limit_s: float = 20.0
    previous: str = ""
    compare: bool = True


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """`agent` is `file.py[:name]` or an `.mlir` file. `passes` are opt-in, as `weft opt -p` reads them; they run before
    placing."""

    agent: str
    needs: Needs = Needs()
    supply: Supply = Supply()
    rules: Rules = Rules()
    aim: Aim = Aim()
    passes: str = ""

    def tightened(self, tighten: tuple[str, ...]) -> "CompileRequest":
        """In place of what was tightened before."""
        return replace(self, rules=replace(self.rules, tighten=tighten))

    def uncompared(self) -> "CompileRequest":
        return replace(self, aim=replace(self.aim, compare=False))


def size_of(text: str) -> tuple[str, str, float]:
    """`think.isl=812` as ("think", "isl", 812.0)."""
    where, _, number = text.partition("=")
    step, _, key = where.rpartition(".")
    try:
        return step, key, float(number)
    except ValueError as error:
        problem, way_out = "has no number", "write STEP.SIZE=NUMBER, like think.isl=812"
        raise InputError(subject=f"size {text!r}", problem=problem, way_out=way_out) from error


def paces_of(words: Iterable[str]) -> Mapping[str, float]:
    """`llama-3-8b@h100-sxm.decode=1.31` as {"llama-3-8b@h100-sxm.decode": 1.31}; a later word wins."""
    found: dict[str, float] = {}
    for word in words:
        name, _, number = word.rpartition("=")
        where, _, phase = name.rpartition(".")
        model, _, device = where.rpartition("@")
        try:
            factor = float(number)
        except ValueError:
            factor = math.nan
        if not (model and device and phase in PHASES and 0 < factor < math.inf):
            way_out = "write MODEL@DEVICE.PHASE=FACTOR, like llama-3-8b@h100-sxm.decode=1.31"
            raise InputError(subject=f"measured pace {word!r}", problem="cannot be read", way_out=way_out)
        catalog.model(model)  # else nobody would hear that it means nothing
        found[pace_key(model, device, phase)] = factor
    return found


def pace_words(paces: Mapping[str, float]) -> tuple[str, ...]:
    """What `paces_of` reads."""
    return tuple(f"{key}={factor:.6g}" for key, factor in sorted(paces.items()))
