"""Placement as a mixed-integer linear program.

Variables, all ≥ 0: x_io ∈ {0,1} (split traffic: [0,1]) task i takes option o · n_p ∈ ℤ replicas of pool p · y_hab
hand-off h goes from port a to port b · c_i completion of task i since its block began, b_i its start · T_k time of
block k · s_r seconds late for promise r · z_c ∈ {0,1} course c is on time · w_d devices of class d beyond the inventory
(s and w are 0 unless allowed; w also where d can be bought).
Data: λ rate, ρ utilisation, v visits, b busy time, l latency, τ tail, u inventory, L limit of time, p probability,
e energy, m price or bytes, B budget or bandwidth.

    (1)  Σ_o x_io = 1                                               each task has one option
    (2)  n_p ≥ ⌈λ v_i b_io / ρ⌉ x_io         for o in p              whole replicas for each task alone
    (2s) n_p ≥ x_io                          instead, if split      a pool in use has a replica
    (3)  n_p ≥ Σ_io λ v_i b_io / ρ x_io      for o in p              and for all tasks of a pool together
         (2) and (3) likewise for the bytes that a pool's adapters send, and for those that they receive
    (4)  Σ_p devices_p n_p − w_d ≤ u_d                              inventory
    (5)  Σ_b y_hab = Σ_o x_io                i = source, o at a      what leaves a port; untied options only
    (6)  Σ_a y_hab = Σ_o x_jo                j = target, o at b      what enters one
    (6t) Σ_o x_io = Σ_o x_jo                 o of one tie            one replica serves both ends
    (7)  c_j ≥ c_i + Σ_ab l_hab y_hab + Σ_o l_jo x_jo                j starts when its inputs are there
    (7s) b_j ≥ c_i + Σ_ab l_hab y_hab;  c_j ≥ b_j + Σ_o l_jo x_jo    instead, if j is at an end of a stream
    (7f) b_j ≥ b_i + Σ_ab l_hab y_hab + Σ_o f_io x_io               along a stream: f until the first chunk is made,
    (7l) c_j ≥ c_i + Σ_ab l_hab y_hab + Σ_o g_jo x_jo               g the work on the last one
    (8)  T_k ≥ c_i                           i in block k            longest path
    (8w) T_k ≥ Σ_io (a_i w_io + g_i (l_io − w_io)) x_io + Σ_h r_h Σ_ab l_hab y_hab    instead, for each way of block k:
         a waits w, g visits' work, r hand-offs on it (`plan.problem.Way`)
    (9)  X_c − s_r ≤ L_r                     bound courses c of a promise r: see formulation.courses
    (9z) X_c − s_r ≤ L_r + M_c (1 − z_c)     its open ones; M_c more than X_c can be
    (9p) Σ_c p_c z_c ≥ P_r                   what is missing to the promised share; c open
         where X_c = Σ_k v_ck T_k + Σ_h v_ch Σ_ab l_hab y_hab + Σ_io v_ci τ_io x_io; h between blocks, i in k
    (10) Σ_io v_i e_io x_io ≤ E                                     energy of a request
    (11) Σ_d m_d w_d ≤ B                                            purchases
    (12) Σ_h λ v_h Σ_ab m_hab y_hab / ρ ≤ B_l                       bytes over each shared link; ab over l

(2) follows from (3) for integers but not in the relaxation: with it, a pool of one option is bought whole already
there, and little is left to search. (5) and (6) sum over ports, not options: their number does not grow with options.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from weft.plan.evaluate import Decision
from weft.plan.formulation import rows, sums
from weft.plan.formulation.reading import NOTHING, decision
from weft.plan.formulation.rows import PricedRows
from weft.plan.formulation.sums import Terms
from weft.plan.formulation.variables import Variables, declared
from weft.plan.lp import LinearModel
from weft.plan.problem import PlacementProblem

__all__ = ["NOTHING", "Formulation", "Terms", "Variables"]


@dataclass(slots=True)
class Formulation:
    """The model of one problem. It is built when made; solving changes only bounds and rows."""

    problem: PlacementProblem
    tight: bool = True
    """Without (2), a weaker relaxation that is much faster to solve: for bounds of large problems only."""

    model: LinearModel = field(init=False)
    variables: Variables = field(init=False)
    row_of: Mapping[str, PricedRows] = field(init=False)
    """Rows of (4) by device class, of (9) by promise, of (12) by link."""

    def __post_init__(self) -> None:
        self.model = LinearModel()
        self.variables = declared(self.problem, self.model)
        self.row_of = rows.constrain(self.model, self.variables, tight=self.tight)

    @property
    def scale(self) -> float:
        """$/request are solved per million, purchases in thousands: solvers' tolerances are absolute, near 1e-6."""
        return sums.SCALE[self.problem.objective]

    def cost(self) -> Terms:
        """The objective, in its scaled unit."""
        return sums.objective(self.variables)

    def hourly_usd(self) -> Terms:
        return sums.hourly_usd(self.variables)

    def end_to_end(self) -> Terms:
        return sums.end_to_end(self.variables)

    def decision(self, values: Sequence[float]) -> Decision:
        return decision(self.variables, values)

    def allow_excess(self) -> None:
        for variable in self.variables.excess.values():
            self.model.free(variable)

    def allow_lateness(self) -> None:
        for variable in self.variables.slack.values():
            self.model.free(variable)

    def allow_congestion(self) -> None:
        for variable in self.variables.congestion.values():
            self.model.free(variable)
