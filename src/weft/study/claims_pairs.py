"""Claims 1 to 3 of the paper: which pair gives most tokens for the money, and who should prefill and who decode."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product

from weft import catalog
from weft.cost.tco import usd_per_hour
from weft.study.claims import Claim, Tried, Verdict, depends_on, held, mean_ratio, of, share, verdict
from weft.study.evidence import measured_benefit, of_kind, phases
from weft.study.pairs import Cell, Half, Row
from weft.study.space import FINANCES, PAPER_DEVICES, SIZES, pair_name, short

B200_GAUDI, B200_B200 = "B200::Gaudi 3", "B200::B200"
H100_GAUDI, GAUDI_GAUDI = "H100::Gaudi 3", "Gaudi 3::Gaudi 3"
NAMED = (B200_GAUDI, B200_B200, H100_GAUDI, "B200::H100", "H100::H100")
"""The pairs that the paper's figures name."""
LARGE = "llama-3-70b"
TIE = 0.995
COMPARABLE = 0.9
Table = Mapping[Cell, Mapping[str, Row]]


def table(rows: Iterable[Row], finances: Sequence[str] = FINANCES) -> Table:
    """The priced rows of the paper's devices, by cell and pair."""
    names = {pair_name(first, second) for first, second in product(PAPER_DEVICES, repeat=2)}
    found: dict[Cell, dict[str, Row]] = {}
    for row in rows:
        if row.tokens_per_usd is not None and row.cell.finance in finances and row.pair in names:
            found.setdefault(row.cell, {})[row.pair] = row
    return found


def claim_1(found: Table) -> Claim:
    best_of_all = _tried(found, lambda pairs: _against(pairs, B200_GAUDI, pairs))
    best_of_named = _tried(found, lambda pairs: _against(pairs, B200_GAUDI, NAMED))
    above = _tried(found, lambda pairs: _ratio(pairs, B200_GAUDI, B200_B200), least=1.0)
    in_fp8 = of(best_of_named, lambda cell: cell.precision == "fp8")
    part = share(best_of_named)
    return Claim(
        1,
        "B200::Gaudi 3 is best",
        "B200::Gaudi 3 has the best TCO benefit overall, above all in FP8, interactive and batch, also above "
        "B200::B200",
        _overall(part, share(best_of_all)),
        part,
        len(best_of_named),
        f"best of the five pairs that the figures name in {held(best_of_named)}, of all 36 in {held(best_of_all)}",
        (
            (
                f"B200::Gaudi 3 is the best of the five named pairs in {held(best_of_named)} and of all 36 pairs in "
                f"{held(best_of_all)}; on average it reaches {mean_ratio(best_of_all):.2f} of the best pair."
            ),
            f"It beats B200::B200 in {held(above)}, on average by a factor of {mean_ratio(above):.2f}.",
            f"In FP8 it is the best named pair in {held(in_fp8)}: FP8 does not favour it."
            if share(in_fp8) <= part
            else f"In FP8 it is the best named pair in {held(in_fp8)}, more often than in FP16.",
            *_winners(found),
            *_mixing(found),
        ),
        depends_on(best_of_named),
        tuple(_measured_best()),
    )


def claim_2(found: Table) -> Claim:
    tried = _tried(found, lambda pairs: _ratio(pairs, H100_GAUDI, B200_B200), least=COMPARABLE)
    better = sum(each.ratio >= 1 for each in tried)
    part = share(tried)
    return Claim(
        2,
        "H100::Gaudi 3 is comparable to B200::B200",
        "H100::Gaudi 3 is comparable to or slightly better than B200::B200",
        verdict(part),
        part,
        len(tried),
        f"at least {COMPARABLE:g} of B200::B200 in {held(tried)}, on average {mean_ratio(tried):.2f} of it",
        (
            (
                f"H100::Gaudi 3 gives at least {COMPARABLE:g} of the tokens per dollar of B200::B200 in {held(tried)} "
                "and "
                "more "
                f"in {better}; the average is {mean_ratio(tried):.2f}."
            ),
            *(
                f"ISL/OSL {isl}/{osl}: on average {mean_ratio(_sized(tried, isl, osl)):.2f} of it"
                f" ({held(_sized(tried, isl, osl))})."
                for isl, osl in SIZES
            ),
        ),
        depends_on(tried),
        tuple(_measured_ratio(H100_GAUDI, B200_B200)),
    )


def claim_3(found: Table) -> Claim:
    """Who is cheapest per request in each phase, among the paper's devices."""
    long_input, decoding = _sizes_only(found, 4096), _sizes_only(found, 512)
    prefill = _tried(long_input, lambda pairs: _phase_ratio(pairs, "gaudi3", _prefill))
    decode = _tried(decoding, lambda pairs: _phase_ratio(pairs, "gaudi3", _decode))
    pressed = _tried(long_input, lambda pairs: _phase_ratio(pairs, "b200", _prefill))
    pressed = of(pressed, lambda cell: cell.sla == "interactive" or cell.precision == "fp8")
    relaxed = of(prefill, lambda cell: cell.sla == "offline" and cell.precision == "fp16")
    tried = [*relaxed, *pressed, *decode]
    part = share(tried)
    return Claim(
        3,
        "Gaudi 3 for long prompts on cost and for decode, B200 for latency and FP8",
        "long input favours Gaudi 3 for prefill on cost, B200 where latency or FP8 dominates; decode-heavy favours "
        "Gaudi 3 for decode",
        verdict(part),
        part,
        len(tried),
        f"Gaudi 3 cheapest offline FP16 prefill in {held(relaxed)}, B200 cheapest interactive or FP8 prefill in "
        f"{held(pressed)}, Gaudi 3 cheapest decode in {held(decode)}",
        (
            (
                f"4096/512, offline and FP16: Gaudi 3 is the cheapest prefill in {held(relaxed)} (it costs "
                f"{1 / mean_ratio(relaxed):.2f} of the cheapest on average)."
            ),
            (
                f"4096/512, interactive or FP8: B200 is the cheapest prefill in {held(pressed)}; Gaudi 3 is in "
                f"{held(of(prefill, lambda cell: cell.sla == 'interactive' or cell.precision == 'fp8'))}."
            ),
            (
                f"512/4096: Gaudi 3 is the cheapest decode in {held(decode)} (it costs {1 / mean_ratio(decode):.2f} of "
                "the "
                "cheapest on average)."
            ),
            *_phase_winners(long_input, _prefill, "Cheapest prefill at 4096/512"),
            *_phase_winners(decoding, _decode, "Cheapest decode at 512/4096"),
        ),
        depends_on(tried),
        (*_measured_phases(), *_measured_interactive()),
    )


def _overall(named_share: float, all_share: float) -> Verdict:
    """Confirmed only where it also holds among all pairs."""
    found = verdict(named_share)
    return Verdict.DEPENDS if found is Verdict.CONFIRMED and verdict(all_share) is Verdict.REFUTED else found


def _tried(found: Table, ratio_of: Callable[[Mapping[str, Row]], float | None], least: float = TIE) -> list[Tried]:
    ratios = ((cell, ratio_of(pairs)) for cell, pairs in found.items())
    return [Tried(cell, ratio >= least, ratio) for cell, ratio in ratios if ratio is not None]


def _tokens(row: Row) -> float:
    return row.tokens_per_usd or 0.0


def _against(pairs: Mapping[str, Row], pair: str, others: Iterable[str]) -> float | None:
    """Its tokens per dollar over the best of the others; 0 where it cannot serve the cell and another can."""
    best = max((_tokens(pairs[name]) for name in others if name in pairs), default=0.0)
    return _tokens(pairs[pair]) / best if pair in pairs and best else None


def _ratio(pairs: Mapping[str, Row], pair: str, other: str) -> float | None:
    return _tokens(pairs[pair]) / _tokens(pairs[other]) if pair in pairs and other in pairs else None


def _prefill(row: Row) -> Half | None:
    return row.prefill


def _decode(row: Row) -> Half | None:
    return row.decode


def _phase_usd(pairs: Mapping[str, Row], half_of: Callable[[Row], Half | None]) -> dict[str, float]:
    halves = [half for row in pairs.values() if (half := half_of(row))]
    return {half.device: half.usd_per_request for half in halves}


def _phase_ratio(pairs: Mapping[str, Row], device: str, half_of: Callable[[Row], Half | None]) -> float | None:
    usd = _phase_usd(pairs, half_of)
    return min(usd.values()) / usd[device] if device in usd else None


def _sized(tried: Iterable[Tried], isl: int, osl: int) -> list[Tried]:
    return of(tried, lambda cell: (cell.isl, cell.osl) == (isl, osl))


def _sizes_only(found: Table, isl: int) -> Table:
    return {cell: pairs for cell, pairs in found.items() if cell.isl == isl}


def _count(names: Iterable[str], total: int) -> str:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {count}" for name, count in ordered[:5]) + f" (of {total})"


def _winners(found: Table) -> Iterable[str]:
    for catalogue, finance in product(("paper", "default"), FINANCES):
        cells = {c: p for c, p in found.items() if (c.catalogue, c.finance) == (catalogue, finance)}
        best = (max(pairs, key=lambda name: _tokens(pairs[name])) for pairs in cells.values())
        if cells:
            yield f"Best pair, catalogue {catalogue}, finance {finance}: {_count(best, len(cells))}."


def _mixing(found: Table) -> Iterable[str]:
    """What a mixed pair is worth over the best single device."""
    gains: list[float] = []
    for pairs in found.values():
        single = max((_tokens(row) for name, row in pairs.items() if len(set(name.split("::"))) == 1), default=0.0)
        if single:
            gains.append(max(_tokens(row) for row in pairs.values()) / single - 1)
    if gains:
        mixed = sum(gain > 0.001 for gain in gains)
        yield (
            f"A mixed pair is the best of all in {mixed} of {len(gains)} cells, by "
            f"{sorted(gains)[len(gains) // 2]:.1%} in "
            f"the median and {max(gains):.0%} at most over the best single device."
        )


def _phase_winners(found: Table, half_of: Callable[[Row], Half | None], title: str) -> Iterable[str]:
    for catalogue, finance in product(("paper", "default"), FINANCES):
        cells = [p for c, p in found.items() if (c.catalogue, c.finance) == (catalogue, finance)]
        costs = [_phase_usd(pairs, half_of) for pairs in cells]
        best = [short(min(usd, key=lambda device: usd[device])) for usd in costs if usd]
        if best:
            yield f"{title}, catalogue {catalogue}, finance {finance}: {_count(best, len(best))}."


def _measured_best() -> Iterable[str]:
    for finance, (isl, osl) in product(FINANCES, SIZES):
        found = measured_benefit(LARGE, isl, osl, catalog.finance(finance), "default")
        best = sorted(found.items(), key=lambda each: -each[1])[:3]
        rank = 1 + sum(value > found[B200_GAUDI] for value in found.values())
        yield (
            f"Measured phases, 70B FP8 offline, {isl}/{osl}, finance {finance}: "
            + ", ".join(f"{pair} {value:.2f}" for pair, value in best)
            + f"; B200::Gaudi 3 {found[B200_GAUDI]:.2f} (rank {rank} of {len(found)}), B200::B200 "
            f"{found[B200_B200]:.2f}."
        )
    slow = [run for run in of_kind("gaudi_latency") if run.tpot_s]
    if slow:
        least = min(slow, key=lambda run: run.tpot_s or 0.0)
        yield (
            f"Interactive: the only served latencies of Gaudi 3 in the data ({least.model}, {least.tp} devices, "
            f"{least.date}) start at TPOT {1e3 * (least.tpot_s or 0):.0f} ms at concurrency {least.concurrency}; 20 ms "
            "is asked. "
            "Another and larger model, but no measurement shows a Gaudi 3 decoder within the objective."
        )


def _measured_ratio(pair: str, other: str) -> Iterable[str]:
    for finance, (isl, osl) in product(FINANCES, SIZES):
        found = measured_benefit(LARGE, isl, osl, catalog.finance(finance), "default")
        yield (
            f"Measured phases, 70B FP8 offline, {isl}/{osl}, finance {finance}: {pair} {found[pair]:.2f}, "
            f"{other} {found[other]:.2f}, ratio {found[pair] / found[other]:.2f}."
        )


def _measured_phases() -> Iterable[str]:
    split = phases(LARGE)
    for isl, osl in SIZES:
        told = ", ".join(
            f"{short(device)} {split[device].prefill_s(isl):.3f} + {split[device].decode_s(isl, osl):.3f}"
            for device in split
        )
        yield f"Measured device-seconds per request, prefill + decode, 70B FP8 offline, {isl}/{osl}: {told}."
    for finance in FINANCES:
        terms = catalog.finance(finance)
        prefill = {d: _usd(d, terms.name) * split[d].prefill_s(4096) for d in split if _usd(d, terms.name)}
        decode = {d: _usd(d, terms.name) * split[d].decode_s(512, 4096) for d in split if _usd(d, terms.name)}
        yield (
            f"Measured, finance {finance}: the cheapest prefill at 4096 tokens is "
            f"{short(min(prefill, key=prefill.__getitem__))}"
            f" (Gaudi 3 costs {prefill['gaudi3'] / min(prefill.values()):.2f} of it), the cheapest decode at 512/4096 "
            f"{short(min(decode, key=decode.__getitem__))} (Gaudi 3 {decode['gaudi3'] / min(decode.values()):.2f})."
        )


def _measured_interactive() -> Iterable[str]:
    told = [
        f"{short(run.device)} {run.isl}/{run.osl} "
        + (f"{run.tokens_per_s_per_device:.0f} (TP{run.tp})" if run.tokens_per_s_per_device else "none")
        for run in of_kind("interactive")
    ]
    yield (
        "Measured, 70B FP8 aggregated on one device class, best tokens/s per device within TTFT 250 ms and TPOT 20 ms: "
        + ", ".join(told)
        + ". With long prompts only B200 stays within the objective."
    )


def _usd(device: str, finance: str) -> float:
    """USD per hour; 0 where the device has no price under the finance."""
    row = catalog.device(device)
    return 0.0 if row.price_usd is None else usd_per_hour(row, catalog.finance(finance))
