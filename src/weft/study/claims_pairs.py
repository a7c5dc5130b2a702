"""Claims 1 to 3 of the paper: which pair gives most tokens for the money, and who should prefill and who decode."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from statistics import median

from weft import catalog
from weft.cost.tco import usd_per_hour
from weft.study.claims import Claim, Tried, Verdict, claim, of, tally, telling_factors, verdict_of
from weft.study.evidence import measured_benefit, of_kind, phases
from weft.study.pairs import Cell, Half, Row
from weft.study.space import FINANCES, PAPER_DEVICES, SIZES, pair_name, short

B200_GAUDI, B200_B200, H100_GAUDI = "B200::Gaudi 3", "B200::B200", "H100::Gaudi 3"
NAMED = (B200_GAUDI, B200_B200, H100_GAUDI, "B200::H100", "H100::H100")
"""The pairs that the paper's figures name."""
LARGE = "llama-3-70b"
TIE = 0.995
"""This share of the best is the best: the model tells no finer."""
COMPARABLE = 0.9
Table = Mapping[Cell, Mapping[str, Row]]
Side = Callable[[Row], Half | None]


def table(rows: Iterable[Row], finances: Sequence[str] = FINANCES) -> Table:
    """The priced rows of the paper's devices, by cell and pair."""
    names = {pair_name(first, second) for first, second in product(PAPER_DEVICES, repeat=2)}
    found: dict[Cell, dict[str, Row]] = {}
    for row in rows:
        if row.tokens_per_usd is not None and row.cell.finance in finances and row.pair in names:
            found.setdefault(row.cell, {})[row.pair] = row
    return found


def claim_1(found: Table) -> Claim:
    of_all = _tried(found, lambda pairs: _against(pairs, B200_GAUDI, pairs))
    of_named = _tried(found, lambda pairs: _against(pairs, B200_GAUDI, NAMED))
    named, everyone = tally(of_named), tally(of_all)
    values = {
        "named": named,
        "all": everyone,
        "above": tally(_tried(found, lambda pairs: _ratio(pairs, B200_GAUDI, B200_B200), least=1.0)),
        "fp8": tally(of(of_named, lambda cell: cell.precision == "fp8")),
        "winners": _counted(found, lambda pairs: max(pairs, key=lambda name: _tokens(pairs[name]))),
        "gains": sorted(_gains(found)),
        "median": median(_gains(found) or [0.0]),
        "telling": telling_factors(of_named),
        "measured": list(_measured()),
        "gaudi": min(of_kind("gaudi_latency"), key=lambda run: run.tpot_s or float("inf")),
        "tpot_s": catalog.slo("interactive").tpot_s,
    }
    verdict = verdict_of(named.share)
    if verdict is Verdict.CONFIRMED and verdict_of(everyone.share) is Verdict.REFUTED:
        verdict = Verdict.DEPENDS
    return claim(1, verdict, named.share, named.cells, values)


def claim_2(found: Table) -> Claim:
    tried = _tried(found, lambda pairs: _ratio(pairs, H100_GAUDI, B200_B200), least=COMPARABLE)
    told = tally(tried)
    values = {
        "comparable": COMPARABLE,
        "told": told,
        "better": sum(each.ratio >= 1 for each in tried),
        "sizes": [
            (isl, osl, tally(of(tried, lambda cell, size=(isl, osl): (cell.isl, cell.osl) == size)))
            for isl, osl in SIZES
        ],
        "telling": telling_factors(tried),
        "measured": list(_measured()),
    }
    return claim(2, verdict_of(told.share), told.share, told.cells, values)


def claim_3(found: Table) -> Claim:
    """Who is cheapest per request in each phase, among the paper's devices."""
    long_input = {cell: pairs for cell, pairs in found.items() if cell.isl > cell.osl}
    decoding = {cell: pairs for cell, pairs in found.items() if cell.isl < cell.osl}
    gaudi = _tried(long_input, lambda pairs: _phase_ratio(pairs, "gaudi3", _prefill))
    relaxed = of(gaudi, lambda cell: not _pressed(cell))
    pressed = of(_tried(long_input, lambda pairs: _phase_ratio(pairs, "b200", _prefill)), _pressed)
    decode = _tried(decoding, lambda pairs: _phase_ratio(pairs, "gaudi3", _decode))
    told = tally([*relaxed, *pressed, *decode])
    values = {
        "relaxed": tally(relaxed),
        "pressed": tally(pressed),
        "pressed_gaudi": tally(of(gaudi, _pressed)),
        "decode": tally(decode),
        "prefill_winners": _counted(long_input, lambda pairs: _cheapest(pairs, _prefill)),
        "decode_winners": _counted(decoding, lambda pairs: _cheapest(pairs, _decode)),
        "telling": telling_factors([*relaxed, *pressed, *decode]),
        "phases": phases(LARGE),
        "sizes": SIZES,
        "measured": [_measured_cheapest(finance) for finance in FINANCES],
        "interactive": of_kind("interactive"),
        "objective": catalog.slo("interactive"),
        "short": short,
    }
    return claim(3, verdict_of(told.share), told.share, told.cells, values)


def _pressed(cell: Cell) -> bool:
    """Latency or FP8 dominates."""
    return cell.sla == "interactive" or cell.precision == "fp8"


def _tried(found: Table, ratio_of: Callable[[Mapping[str, Row]], float | None], least: float = TIE) -> list[Tried]:
    ratios = ((cell, ratio_of(pairs)) for cell, pairs in found.items())
    return [Tried(cell, ratio >= least, ratio) for cell, ratio in ratios if ratio is not None]


def _tokens(row: Row) -> float:
    return row.tokens_per_usd or 0.0


def _against(pairs: Mapping[str, Row], pair: str, others: Iterable[str]) -> float | None:
    """Its tokens per dollar over the best of the others."""
    best = max((_tokens(pairs[name]) for name in others if name in pairs), default=0.0)
    return _tokens(pairs[pair]) / best if pair in pairs and best else None


def _ratio(pairs: Mapping[str, Row], pair: str, other: str) -> float | None:
    return _tokens(pairs[pair]) / _tokens(pairs[other]) if pair in pairs and other in pairs else None


def _prefill(row: Row) -> Half | None:
    return row.prefill


def _decode(row: Row) -> Half | None:
    return row.decode


def _phase_usd(pairs: Mapping[str, Row], side: Side) -> dict[str, float]:
    halves = [half for row in pairs.values() if (half := side(row))]
    return {half.device: half.usd_per_request for half in halves}


def _phase_ratio(pairs: Mapping[str, Row], device: str, side: Side) -> float | None:
    usd = _phase_usd(pairs, side)
    return min(usd.values()) / usd[device] if device in usd else None


def _cheapest(pairs: Mapping[str, Row], side: Side) -> str:
    usd = _phase_usd(pairs, side)
    return short(min(usd, key=usd.__getitem__))


def _counted(
    found: Table, winner: Callable[[Mapping[str, Row]], str]
) -> list[tuple[str, str, list[tuple[str, int]], int]]:
    """(catalogue, finance, winners with counts, cells)"""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for cell, pairs in found.items():
        counts.setdefault((cell.catalogue, cell.finance), Counter())[winner(pairs)] += 1
    return [(*key, count.most_common(5), count.total()) for key, count in counts.items()]


def _gains(found: Table) -> list[float]:
    """What the best pair of each cell is worth over the best single device."""
    best = [(max(map(_tokens, pairs.values())), _best_single(pairs)) for pairs in found.values()]
    return [every / single - 1 for every, single in best if single]


def _best_single(pairs: Mapping[str, Row]) -> float:
    return max((_tokens(row) for name, row in pairs.items() if len(set(name.split("::"))) == 1), default=0.0)


def _measured() -> Iterator[tuple[str, int, int, list[tuple[str, float]]]]:
    """(finance, isl, osl, pairs with their measured benefit, best first) of the default catalogue."""
    for finance, (isl, osl) in product(FINANCES, SIZES):
        found = measured_benefit(LARGE, isl, osl, catalog.finance(finance), "default")
        yield finance, isl, osl, sorted(found.items(), key=lambda each: -each[1])


def _measured_cheapest(finance: str) -> tuple[str, str, float, str, float]:
    """The cheapest measured prefill of the long prompt and decode of the long answer, and Gaudi 3 against each."""
    terms, split = catalog.finance(finance), phases(LARGE)
    owned = {name: row for name in split if (row := catalog.device(name)).price_usd is not None}
    price = {name: usd_per_hour(row, terms) for name, row in owned.items()}
    prefill = {name: price[name] * split[name].prefill_s(SIZES[1][0]) for name in owned}
    decode = {name: price[name] * split[name].decode_s(*SIZES[0]) for name in owned}
    first, second = (min(usd, key=usd.__getitem__) for usd in (prefill, decode))
    return (
        finance,
        short(first),
        prefill["gaudi3"] / prefill[first],
        short(second),
        decode["gaudi3"] / decode[second],
    )
