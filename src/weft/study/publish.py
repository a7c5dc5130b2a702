"""What `weft study NAME` writes: one function a study, from an output folder to the files and findings in it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from weft import catalog
from weft.study import (
    catalogue,
    chance_agents,
    fidelity,
    fidelity_figure,
    fidelity_page,
    kv_bandwidth,
    never_loses,
    never_loses_figure,
    part_figures,
    resources,
    scaling,
    sensitivity,
    tco,
    tco_figures,
)
from weft.study.claims import Claim
from weft.study.claims_parts import claim_4, claim_5, claim_6
from weft.study.page import Json, Published, markdown_table, write_csv, write_page
from weft.study.pairs import Progress, Row
from weft.study.publish_retention import publish_retention
from weft.study.publish_simulated import publish_failure, publish_mix, publish_routing
from weft.study.space import EXTENSION_DEVICES, EXTRA_FINANCES, FINANCES, PAPER_DEVICES, Space, pair_name, short

DATA = Path("../shared/data")
"""Where study `fidelity` finds measured.csv."""
TALKERS = ("gaudi3", "mi300x", "h100-sxm", "b200")


def publish_tco(out: Path, progress: Progress | None = None, space: Space | None = None) -> Published:
    study = tco.run(space, progress)
    figures = [
        tco_figures.draw_benefit(study.rows, name, isl, osl, out / f"tco-{isl}-{osl}-{name}.png")
        for name in study.space.catalogues
        for isl, osl in study.space.sizes
    ]
    figures.append(tco_figures.draw_all_pairs(study.rows, out / "tco-pairs.png"))
    bases = {name: sensitivity.base(name) or 0.0 for name in tco.AGAINST}
    title = "What moves the benefit of B200::Gaudi 3 (70B FP8, 512/4096, interactive, finance owned)"
    figures.append(tco_figures.draw_tornado(study.swings, bases, title, out / "tco-tornado.png"))
    files = (
        *figures,
        write_csv(out / "tco.csv", (_csv_row(row) for row in study.priced)),
        write_page("tco", out, _tco_values(study, bases)),
    )
    return Published(files, tuple(_one_line(claim) for claim in study.claims), tco.to_json(study))


def publish_kv_bandwidth(out: Path, progress: Progress | None = None) -> Published:
    rows = kv_bandwidth.rows(catalog.slo("interactive"))
    claim = claim_5(rows)
    longest = markdown_table(
        ("model", "cache", "egress, 1 × 200G", "egress, 1 × 400G", "ingress, 1 × 400G", "ingress, 8 × 400G"),
        _longest_prompts(),
    )
    wrong = [f"{catalog.model(name).name} ({ratio:.2f})" for name, ratio in kv_bandwidth.wrong_by_equation_3(rows)]
    values = {
        "claim": claim,
        "longest": longest,
        "wrong": wrong,
        "models": len({row.model for row in rows}),
        "egress_all": kv_bandwidth.egress_share(rows, kv_bandwidth.CLAIMED_TOKENS),
        "egress_128k": kv_bandwidth.egress_share(rows, max(kv_bandwidth.LENGTHS)),
        "ingress_all": kv_bandwidth.ingress_share(rows, kv_bandwidth.CLAIMED_TOKENS, 1),
        "ingress_eight": kv_bandwidth.ingress_share(rows, kv_bandwidth.CLAIMED_TOKENS, kv_bandwidth.REPLICA),
        "ingress_eight_128k": kv_bandwidth.ingress_share(rows, max(kv_bandwidth.LENGTHS), kv_bandwidth.REPLICA),
        "objective": catalog.slo("interactive"),
    }
    files = (
        part_figures.draw_kv(rows, out / "kv-bandwidth.png"),
        write_csv(out / "kv-bandwidth.csv", map(asdict, rows)),
        write_page("kv-bandwidth", out, values),
    )
    return Published(files, (_one_line(claim),), {"rows": [asdict(row) for row in rows], "claims": [asdict(claim)]})


def publish_catalogue(out: Path, progress: Progress | None = None) -> Published:
    rows = catalogue.rows()
    claim = claim_6(rows)
    figures = [part_figures.draw_catalogue(rows, name, out / f"catalogue-{name}.png") for name in ("paper", "default")]
    records = [asdict(row) | {"usd_per_unit": row.usd_per_unit} for row in rows]
    unpriced = sorted({short(row.device) for row in rows if row.price == "price" and row.usd is None})
    values = {"claim": claim, "figures": figures, "unpriced": unpriced}
    files = (
        *figures,
        write_csv(out / "catalogue.csv", records),
        write_page("catalogue", out, values),
    )
    return Published(files, (_one_line(claim),), {"rows": records, "claims": [asdict(claim)]})


def publish_fidelity(out: Path, progress: Progress | None = None, data: Path = DATA) -> Published:
    """`data` holds measured.csv, which does not ship."""
    found = fidelity.run(data)
    fidelity.write_csv(found, out / "fidelity.csv")
    fidelity_figure.draw(found, out / "fidelity.png")
    (out / "fidelity.md").write_text(fidelity_page.page(found), encoding="utf-8")
    findings = tuple(fidelity_page.findings(found))
    return Published(("fidelity.png", "fidelity.csv", "fidelity.md"), findings, {"findings": findings})


def publish_scaling(out: Path, progress: Progress | None = None) -> Published:
    rows, leaning = scaling.rows(), resources.rows()
    claim = claim_4(rows)
    values = {
        "leaning": markdown_table(
            ("workload", *resources.DIMENSIONS, "from"),
            ((row.workload, *(f"{score:.1f}" for score in row.scores), row.basis) for row in leaning),
        ),
        "claim": claim,
        "turns": _turn_table(rows),
        "provenance": ", ".join(sorted({row.provenance for row in rows})),
        "tokens": scaling.TOKENS,
        "batch": scaling.DECODE_BATCH,
    }
    files = (
        part_figures.draw_scaling(rows, out / "scaling.png"),
        part_figures.draw_radar(leaning, out / "resources.png"),
        part_figures.draw_talk(rows, TALKERS, out / "scaling-communication.png"),
        write_csv(out / "scaling.csv", map(asdict, rows)),
        write_page("scaling", out, values),
    )
    told = {"rows": [asdict(row) for row in rows], "claims": [asdict(claim)]}
    return Published(files, (_one_line(claim),), told | {"resources": resources.as_records(leaning)})


def publish_never_loses(out: Path, progress: Progress | None = None, count: int = never_loses.REQUESTS) -> Published:
    rows, without = never_loses.run(count, progress)
    rivals: Mapping[str, Callable[[never_loses.Row], float | None]] = {
        "the best single accelerator": lambda row: row.single_usd,
        "the paper's best fixed pair": lambda row: row.pair_usd,
        "H100 alone": lambda row: row.baseline_usd,
    }
    saved = {name: never_loses.savings(rows, rival) for name, rival in rivals.items()}
    best = max((row for row in rows if row.single_usd), key=lambda row: row.saving(row.single_usd) or 0.0)
    unproven = max(row.gap for row in rows)
    single = saved["the best single accelerator"]
    lost, total = sum(row.lost for row in rows), sum(row.rivals for row in rows)
    mean = {name: sum(found) / len(found) for name, found in saved.items()}
    values = {
        "asked": count,
        "models": ", ".join(sorted(set(chance_agents.MODELS))),
        "devices": ", ".join(map(short, (*PAPER_DEVICES, *EXTENSION_DEVICES))),
        "finances": " or ".join(chance_agents.FINANCES),
        "rows": len(rows),
        "without": without,
        "rivals": total,
        "lost": lost,
        "nothing": f"{sum(each < 0.005 for each in single) / len(single):.0%}",
        "mixed": f"{sum(row.families > 1 for row in rows) / len(rows):.0%}",
        "only": sum(row.single_usd is None and row.pair_usd is None for row in rows),
        "most": f"{best.saving(best.single_usd) or 0.0:.0%}",
        "most_name": best.name,
        "gaps": f"The solver proved each plan to {max(unproven, never_loses.GAP):.0e} of its cost.",
        "table": markdown_table(
            ("saved beside", "agents", "mean", "median", "nine tenths below", "most", "nothing saved (< 0.5 %)"),
            (_saving_row(name, found) for name, found in saved.items()),
        ),
    }
    files = (
        never_loses_figure.draw(saved, out / "never-loses.png"),
        write_csv(out / "never-loses.csv", map(asdict, rows)),
        write_page("never-loses", out, values),
    )
    told = ", ".join(f"{share:.0%} beside {name}" for name, share in mean.items())
    finding = f"{len(rows)} plans, {total} rivals, dearer than {lost} of them; saved in the mean: {told}."
    return Published(files, (finding,), {"rows": [asdict(row) for row in rows], "savings": saved})


def _saving_row(name: str, found: list[float]) -> tuple[object, ...]:
    def at(share: float) -> str:
        return f"{found[min(len(found) - 1, int(share * len(found)))]:.0%}"

    nothing = sum(each < 0.005 for each in found) / len(found)
    return name, len(found), f"{sum(found) / len(found):.0%}", at(0.5), at(0.9), f"{found[-1]:.0%}", f"{nothing:.0%}"


STUDIES: Mapping[str, Callable[[Path, Progress | None], Published]] = {
    "tco": publish_tco,
    "kv-bandwidth": publish_kv_bandwidth,
    "catalogue": publish_catalogue,
    "scaling": publish_scaling,
    "fidelity": publish_fidelity,
    "never-loses": publish_never_loses,
    "routing": publish_routing,
    "mix": publish_mix,
    "failure": publish_failure,
    "retention": publish_retention,
}


def _one_line(claim: Claim) -> str:
    return f"{claim.number}. {claim.title}: {claim.verdict}. {claim.summary}."


def _csv_row(row: Row) -> Json:
    flat = {key: value for key, value in tco.row_json(row).items() if key not in ("prefill", "decode", "reason")}
    for phase, half in (("prefill", row.prefill), ("decode", row.decode)):
        if half:
            size = half.parallelism
            flat |= {f"{phase}_tp": size.tp, f"{phase}_pp": size.pp, f"{phase}_batch": half.batch}
            flat |= {f"{phase}_device_s": half.device_s_per_request}
    return flat


def _tco_values(study: tco.TcoStudy, bases: Mapping[str, float]) -> Json:
    space = study.space
    return {
        "claims": study.claims,
        "rows": len(study.rows),
        "priced": len(study.priced),
        "provenance": study.provenance,
        "figures": [(isl, osl, f"tco-{isl}-{osl}") for isl, osl in space.sizes],
        "catalogues": space.catalogues,
        "link": space.kv_link(),
        "finances": markdown_table(
            ("device", *(f"{name}, $/h" for name in (*FINANCES, *EXTRA_FINANCES))), tco.price_table(space)
        ),
        "best": markdown_table(
            ("model", "ISL/OSL", "objective", "finance", "best pair", "benefit", "prefill", "decode", "B200::Gaudi 3"),
            tco.best_table(study.rows),
        ),
        "beside": markdown_table(
            ("device", "model", "ISL/OSL", "phase", "modelled, s", "measured, s", "modelled ÷ measured"),
            (
                (device, model, sizes, phase, f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs:.2f}")
                for device, model, sizes, phase, ours, theirs in study.beside_measured
            ),
        ),
        "unpriced": tco.unpriced(study.rows),
        "hosted": tco.winners(study.rows, "owned-host"),
        "unhosted": tco.winners(study.rows, "owned"),
        "link_bound": sum(tco.link_bound(row) for row in study.priced),
        "bases": [(pair_name(name, name), bases[name]) for name in tco.AGAINST],
        "swings": [(pair_name(name, name), study.swings[name][:4]) for name in tco.AGAINST],
    }


def _longest_prompts() -> Iterator[tuple[object, ...]]:
    for name in part_figures.KV_MODELS:
        model = catalog.model(name)
        for precision in kv_bandwidth.PRECISIONS:
            limits = ((0.25, 1, 200.0), (0.25, 1, 400.0), (0.02, 1, 400.0), (0.02, 8, 400.0))
            yield (
                model.name,
                precision,
                *(f"{kv_bandwidth.longest_tokens(model, precision, *limit):,}" for limit in limits),
            )


def _turn_table(rows: list[scaling.Row]) -> str:
    found = [turn for turn in scaling.turns(rows) if turn.model == "llama-3-70b"]
    return markdown_table(
        ("device", "precision", "phase", "fastest", "speed-up over TP1", "next larger TP"),
        (
            (
                short(turn.device),
                turn.precision,
                turn.phase,
                f"TP{turn.fastest_tp}",
                f"{turn.speedup:.2f}",
                "none tried" if turn.slowdown_beyond == 1.0 else f"{turn.slowdown_beyond:.2f} × the time",
            )
            for turn in found
        ),
    )
